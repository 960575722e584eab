"""`python -m soak.train_wide_band --clips var/floor/clips.npz` writes the network of engines/wide_band.py.

Runs where torch is (`make engine-nemo` or `make engine-chatterbox`), for two minutes. The clips are those
of `soak.floor.voices`, in a room or not, amid noise or not, each in full band and over a telephone. Tells
how far off it is in each missing band (dB, of clips it did not learn from), and how far their mean is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from engines.wide_band import (
    CONTEXT,
    HOP,
    INPUTS,
    MISSING,
    OUTPUTS,
    PASSED,
    RATE,
    SCALE_DB,
    SHIPPED,
    WINDOW,
    levels_db,
    power,
)
from ops import wav
from soak.floor.spoil import babble, companded, hiss, in_room
from soak.floor.voices import clips_of
from soak.spectrum import band

Numbers = npt.NDArray[np.float64]
HIDDEN = 64
BATCH, LEARNING_RATE = 512, 2e-3
HEARD_DB = 45.0
"""Windows are learnt from that are at most so much softer than the loudest of their clip."""


def as_it_was(clip: Numbers, others: list[wav.Samples], rng: np.random.Generator) -> Numbers:
    """In full band: at a loudness of chance, now and then in a room, now and then amid noise."""
    sound = np.pad(clip, (RATE // 10, RATE // 7))
    sound = sound * 10 ** (rng.uniform(-30, -6) / 20) / (np.abs(sound).max() + 1e-9)
    if rng.random() < 0.45:
        sound = in_room(sound, rng)
    if rng.random() < 0.4:
        length = len(sound)
        noise = hiss(length, rng) if rng.random() < 0.5 else babble(length, others, rng)
        sound = sound + noise / np.std(noise) * np.std(sound) * 10 ** (-rng.uniform(10, 35) / 20)
    return np.asarray(sound + rng.standard_normal(len(sound)) * 10 ** (-rng.uniform(75, 90) / 20))


def as_it_comes(sound: Numbers, rng: np.random.Generator) -> Numbers:
    """Over a telephone: 200-330 to 3200-3800 Hz, half of them in 8 bits, all of them in 16."""
    narrow = band(sound, rng.uniform(200, 330), rng.uniform(3200, 3800))
    if rng.random() < 0.5:
        narrow = band(companded(narrow), 0, 4000)
    return np.asarray(np.rint(narrow * 32768) / 32768)


def seen_and_missing(wide: Numbers, narrow: Numbers) -> tuple[Numbers, Numbers]:
    """[windows, INPUTS] and [windows, OUTPUTS] of one clip, as the engine has them."""
    inside, missing = (
        levels_db(power(_windows(x)), b) for x, b in ((narrow, PASSED), (wide, MISSING))
    )
    mean = inside.mean(axis=1, keepdims=True)
    padded = np.concatenate([np.repeat(inside[:1], CONTEXT - 1, 0), inside])
    beside = np.concatenate([padded[at : at + len(inside)] for at in range(CONTEXT)], axis=1)
    heard = mean[:, 0] > mean.max() - HEARD_DB
    return ((beside - mean) / SCALE_DB)[heard], ((missing - mean) / SCALE_DB)[heard]


def _windows(sound: Numbers) -> Numbers:
    return np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]


def examples(clips: list[wav.Samples], count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of `count` clips drawn by chance."""
    rng = np.random.default_rng(seed)
    seen, missing = [], []
    for number, which in enumerate(rng.permutation(len(clips))[:count], 1):
        wide = as_it_was(clips[which] / 32768, clips, rng)
        x, y = seen_and_missing(wide, as_it_comes(wide, rng))
        seen.append(x.astype(np.float32))
        missing.append(y.astype(np.float32))
        if number % 5000 == 0:
            print(f"{number} of {count} clips", flush=True)
    return torch.from_numpy(np.concatenate(seen)), torch.from_numpy(np.concatenate(missing))


def train(seen: torch.Tensor, missing: torch.Tensor, epochs: int, seed: int) -> nn.Sequential:
    """By least squares in dB; the last tenth is only looked at."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Linear(INPUTS, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, OUTPUTS),
    )
    learnt = len(seen) * 9 // 10
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=epochs * (learnt // BATCH)
    )
    for epoch in range(epochs):
        order = torch.randperm(learnt)
        for at in range(0, learnt - BATCH + 1, BATCH):
            some = order[at : at + BATCH]
            loss = ((network(seen[some]) - missing[some]) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            off = (network(seen[learnt:]) - missing[learnt:]).square().mean(0).sqrt() * SCALE_DB
        print(f"epoch {epoch + 1} of {epochs}: off by {_shown(off)} dB", flush=True)
    print(f"their mean would be off by {_shown(missing[learnt:].std(0) * SCALE_DB)} dB")
    return network


def _shown(numbers: torch.Tensor) -> str:
    return " ".join(f"{number:.1f}" for number in numbers.tolist())


def main() -> None:
    """Make the examples, train, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--count", type=int, default=20_000, help="clips to learn from")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=3)
    order = parser.parse_args()
    sounds = [sound for _, _, sound in clips_of(order.clips)]
    network = train(*examples(sounds, order.count, order.seed), order.epochs, order.seed)
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    arrays = {f"weights{n}": layer.weight.detach().numpy().T for n, layer in enumerate(layers)}
    arrays |= {f"bias{n}": layer.bias.detach().numpy() for n, layer in enumerate(layers)}
    small = {name: array.astype(np.float16) for name, array in arrays.items()}
    np.savez_compressed(order.out, **small)
    print(f"{order.out}: {order.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
