"""`python -m soak.floor.train --clips var/floor/clips.npz` writes the networks of engines/floor.py.

Runs where torch is (`make engine-nemo` or `make engine-chatterbox`). Tells after each epoch how well it
does on the shipped callers, whose voices it never hears: the area under the curve, and the share of floor
takers found at 5 % of the backchannels mistaken.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from engines.floor import BANDS, RATE, SCALE, SHIPPED, Array
from ops import wav
from soak import caller_set
from soak.duplex.trials import DUPLEX
from soak.floor.spoil import no_voice, spoiled

WIDTHS = (5, 5, 5, 3)
CHANNELS = (BANDS, 64, 96, 128, 128)
BATCH = 128
RATE_MOST = 2e-3
"""Of learning."""
NO_VOICES = 0.08
"""Share of the examples that are nobody's voice."""
Clip = tuple[int, wav.Samples]
"""Whether it takes the floor, and its samples at 16 kHz."""


class Network(nn.Module):  # type: ignore[misc] # torch is not installed where mypy runs
    """Convolutions over time, halved three times; the mean and the maximum of what is left; two layers."""

    def __init__(self) -> None:
        super().__init__()
        pairs = list(zip(CHANNELS, CHANNELS[1:], WIDTHS, strict=False))
        self.layers = nn.ModuleList(nn.Conv1d(a, b, w, padding=w // 2) for a, b, w in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(b) for _, b, _ in pairs)
        self.hidden, self.out = nn.Linear(2 * CHANNELS[-1], 64), nn.Linear(64, 1)
        self.drop = nn.Dropout(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, FRAMES, BANDS] to log-odds [batch]."""
        x = x.transpose(1, 2)
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            x = torch.relu(norm(layer(x)))
            if number < len(self.layers) - 1:
                x = functional.max_pool1d(x, 2)
        pooled = torch.cat([x.mean(2), x.amax(2)], 1)
        odds: torch.Tensor = self.out(self.drop(torch.relu(self.hidden(self.drop(pooled)))))
        return odds[:, 0]


@dataclass(frozen=True)
class Examples:
    """Spectrograms and whether they take the floor."""

    spectra: npt.NDArray[np.float16]
    takes: npt.NDArray[np.float32]

    @staticmethod
    def of(clips: list[Clip], copies: int, seed: int) -> Examples:
        """Each clip spoiled `copies` times, and sounds of nobody."""
        count = int(len(clips) * copies * (1 + NO_VOICES))
        spectra: list[Array] = []
        takes: list[int] = []
        with Pool(initializer=_given, initargs=(clips, len(clips) * copies, seed)) as pool:
            for number, (mine, made) in enumerate(pool.imap(_example, range(count), 64), 1):
                if made is not None:
                    spectra.append(made)
                    takes.append(mine)
                if number % 5000 == 0:
                    print(f"{number} of {count} examples", flush=True)
        return Examples(np.array(spectra, np.float16), np.array(takes, np.float32))


_work: dict[str, Any] = {}
"""What each process of the pool was given."""


def _given(clips: list[Clip], said: int, seed: int) -> None:
    _work.update(clips=clips, others=[sound for _, sound in clips], said=said, seed=seed)


def _example(number: int) -> tuple[int, Array | None]:
    """One clip or, from number `said` on, nobody's sound; the same for the same seed and number."""
    rng = np.random.default_rng((_work["seed"], number))
    takes, sound = _work["clips"][number % len(_work["clips"])]
    if number < _work["said"]:
        return takes, spoiled(sound / 32768, _work["others"], rng)
    return 0, spoiled(no_voice(_work["others"], rng), _work["others"], rng)


def shipped() -> list[Clip]:
    """The callers of the benchmark: their backchannels and their interruptions of less than 1.3 s."""
    clips = [clip for folder in (None, DUPLEX) for clip in _loaded(folder)]
    kinds = {"backchannel": 0, "interruption": 1}
    return [(kinds[c.kind], wav.read(c.path)) for c in clips if c.kind in kinds]


def _loaded(folder: Path | None) -> list[caller_set.Clip]:
    return list(caller_set.load() if folder is None else caller_set.load(folder))


def score(odds: npt.NDArray[np.float32], takes: npt.NDArray[np.float32]) -> tuple[float, float]:
    """The area under the curve; the share found at 5 % mistaken."""
    yes, no = odds[takes > 0.5], odds[takes < 0.5]
    area = float(np.mean(yes[:, None] > no[None]))
    return area, float(np.mean(yes > np.quantile(no, 0.95)))


def train(examples: Examples, held: Examples, epochs: int, rate: float, seed: int) -> Network:
    """Cross entropy, smoothed by 2 %; time and bands masked by chance; one cycle of the learning rate."""
    torch.manual_seed(seed)
    network, rng = Network(), np.random.default_rng(seed)
    steps = epochs * (len(examples.takes) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    share = float(examples.takes.mean())
    began = time.monotonic()
    for epoch in range(epochs):
        network.train()
        order, loss_sum = rng.permutation(len(examples.takes)), 0.0
        for at in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[at : at + BATCH]
            x = torch.from_numpy(examples.spectra[chosen].astype(np.float32)) * SCALE
            x = torch.roll(x, int(rng.integers(-15, 16)), 1)
            for _ in range(2):
                first = rng.integers(BANDS - 4)
                x[:, :, first : first + rng.integers(6)] = x.mean()
            takes = torch.from_numpy(examples.takes[chosen])
            weights = torch.where(takes > 0.5, (1 - share) / share, 1.0)
            losses = functional.binary_cross_entropy_with_logits(
                network(x), takes * 0.96 + 0.02, reduction="none"
            )
            loss = (losses * weights).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            loss_sum += loss.item() * BATCH / len(order)
        area, found = score(judged(network, held), held.takes)
        print(
            f"network {seed + 1}, epoch {epoch + 1} of {epochs}, {time.monotonic() - began:.0f} s: "
            f"loss {loss_sum:.3f}; "
            f"shipped callers: area {area:.3f}, {100 * found:.0f} % found at 5 % mistaken",
            flush=True,
        )
    return network


def judged(network: Network, examples: Examples) -> npt.NDArray[np.float32]:
    """Log-odds of each."""
    network.eval()
    with torch.no_grad():
        parts = [
            network(torch.from_numpy(examples.spectra[at : at + 512].astype(np.float32)) * SCALE)
            for at in range(0, len(examples.takes), 512)
        ]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def folded(network: Network) -> dict[str, Array]:
    """Its arrays, each normalisation folded into its convolution."""
    arrays: dict[str, Array] = {}
    for number, (layer, norm) in enumerate(zip(network.layers, network.norms, strict=True)):
        gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
        weights = layer.weight.detach() * gain[:, None, None]
        arrays[f"conv{number}"] = weights.permute(2, 1, 0).numpy()
        arrays[f"bias{number}"] = (
            ((layer.bias - norm.running_mean) * gain + norm.bias).detach().numpy()
        )
    arrays["hidden"] = network.hidden.weight.detach().numpy()
    arrays["hidden_bias"] = network.hidden.bias.detach().numpy()
    arrays["out"] = network.out.weight.detach().numpy()[0]
    arrays["out_bias"] = network.out.bias.detach().numpy()[0]
    return arrays


def trained(seed: int) -> dict[str, Array]:
    """One network, on one thread; `_work` has the examples and the rest of the order."""
    torch.set_num_threads(1)
    return folded(train(_work["examples"], _work["held"], _work["epochs"], RATE_MOST, seed))


def written(networks: list[dict[str, Array]], path: Path) -> None:
    """All in one file, as 16-bit floats."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = {
        f"{number}.{name}": np.asarray(array, np.float16)
        for number, arrays in enumerate(networks)
        for name, array in arrays.items()
    }
    np.savez_compressed(path, **small)  # type: ignore[arg-type] # numpy's stub: names of its own


def main() -> None:
    """Make the examples, train, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--networks", type=int, default=2, help="trained side by side")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--copies", type=int, default=2, help="times each clip is spoiled")
    order = parser.parse_args()
    with np.load(order.clips) as file:
        sounds = np.split(file["sound"], file["ends"][:-1])
        clips = list(zip(map(int, file["takes"]), sounds, strict=True))
    held = Examples.of([c for c in shipped() if len(c[1]) < 1.6 * RATE], 3, 1)
    _work.update(examples=Examples.of(clips, order.copies, 2), held=held, epochs=order.epochs)
    with Pool(order.networks) as pool:
        written(pool.map(trained, range(order.networks), 1), order.out)
    print(f"{order.out}: {order.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
