"""`python -m soak.floor.train --clips var/floor/clips.npz` writes the networks of engines/floor.py.

Runs where torch is (`make engine-nemo` or `make engine-chatterbox`), with OPENBLAS_NUM_THREADS=1: else the
processes hold each other up, thirty times slower on two cores. Tells after each epoch how well it
does on the shipped callers, whose voices it never hears: the area under the curve, and the share of floor
takers found at 5 % of the backchannels mistaken. `--kind embedding` trains networks of the speech embedding
alone, `--kind ears` those of half of Whisper's; networks of other kinds that are in the file stay.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from engines.floor import BANDS, KINDS, RATE, SCALE, SHIPPED, SURE, Array, Kind, spectrogram
from engines.floor import Network as FloorNetwork
from engines.speech_embedding import SIZE, SpeechEmbedding
from engines.steady_noise import without_steady_noise
from engines.turn_encoder import SIZE as EARS
from engines.turn_encoder import STEPS as EAR_STEPS
from engines.turn_encoder import TurnEncoder
from ops import wav
from soak import caller_set
from soak.duplex.trials import DUPLEX
from soak.floor.spoil import no_voice, spoiled
from soak.floor.voices import Clip, clips_of

WIDTHS = (5, 5, 5, 3)
CHANNELS = (BANDS, 64, 96, 128, 128)
BATCH = 128
RATE_MOST = 2e-3
"""Of learning."""
NO_VOICES = 0.08
"""Share of the examples that are nobody's voice."""
STEPS = 16
"""Of the embedding: two seconds."""
WORDS = 0.3
"""Weight of the second task of a network of the embedding: which phrase it is."""
NOBODY = "(nobody)"
TRUST = np.float32(1.5)
"""Times the odds of the regression: so they go best with the weights of words (decisions 12 and 15)."""


class Network(nn.Module):  # type: ignore[misc] # torch is not installed where mypy runs
    """Convolutions over time, halved three times; the mean and the maximum of what is left; two layers."""

    def __init__(self) -> None:
        super().__init__()
        pairs = list(zip(CHANNELS, CHANNELS[1:], WIDTHS, strict=False))
        self.layers = nn.ModuleList(nn.Conv1d(a, b, w, padding=w // 2) for a, b, w in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(b) for _, b, _ in pairs)
        self.hidden, self.out = nn.Linear(2 * CHANNELS[-1], 64), nn.Linear(64, 1)
        self.drop = nn.Dropout(0.3)

    def forward(self, x: torch.Tensor, steps: torch.Tensor) -> tuple[torch.Tensor, None]:
        """[batch, FRAMES, BANDS] to log-odds [batch]; `steps` does not matter."""
        x = x.transpose(1, 2) * float(SCALE)
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            x = torch.relu(norm(layer(x)))
            if number < len(self.layers) - 1:
                x = functional.max_pool1d(x, 2)
        pooled = torch.cat([x.mean(2), x.amax(2)], 1)
        odds: torch.Tensor = self.out(self.drop(torch.relu(self.hidden(self.drop(pooled)))))
        return odds[:, 0], None


class OfEmbedding(nn.Module):  # type: ignore[misc] # the same
    """Two convolutions of three steps; the mean and the maximum; two layers, and which phrase it is."""

    def __init__(self, phrases: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(SIZE, affine=False)
        self.layers = nn.ModuleList(nn.Conv1d(SIZE, SIZE, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(SIZE) for _ in range(2))
        self.hidden, self.out = nn.Linear(2 * SIZE, SIZE), nn.Linear(SIZE, 1)
        self.phrase = nn.Linear(SIZE, phrases)
        self.drop, self.drop_bands = nn.Dropout(0.3), nn.Dropout1d(0.15)

    def forward(self, x: torch.Tensor, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[batch, STEPS, SIZE], of which `steps` count, to log-odds [batch] and logits of the phrases."""
        there = (torch.arange(STEPS)[None] < steps[:, None]).float()[:, None]
        x = self.drop(self.norm(x.transpose(1, 2)) * there)
        x = torch.relu(self.norms[0](self.layers[0](x))) * there
        x = torch.relu(self.norms[1](self.layers[1](self.drop_bands(x)))) * there
        pooled = torch.cat([x.sum(2) / steps[:, None], x.amax(2)], 1)
        hidden = self.drop(torch.relu(self.hidden(self.drop(pooled))))
        return self.out(hidden)[:, 0], self.phrase(hidden)


class OfEars(OfEmbedding):
    """What Whisper hears is made narrower, then goes through two convolutions of five steps."""

    def __init__(self, phrases: int) -> None:
        super().__init__(phrases)
        self.norm = nn.BatchNorm1d(EARS, affine=False)
        sizes = (EARS, SIZE, SIZE)
        self.layers = nn.ModuleList(
            nn.Conv1d(size, SIZE, width, padding=width // 2)
            for size, width in zip(sizes, (1, 5, 5), strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(SIZE) for _ in self.layers)

    def forward(self, x: torch.Tensor, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[batch, EAR_STEPS, EARS], of which `steps` count, to log-odds [batch], logits of phrases."""
        there = (torch.arange(EAR_STEPS)[None] < steps[:, None]).float()[:, None]
        x = self.drop_bands(self.norm(x.transpose(1, 2)) * there)
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            x = torch.relu(norm(layer(self.drop(x) if number else x))) * there
        pooled = torch.cat([x.sum(2) / steps[:, None], x.amax(2)], 1)
        hidden = self.drop(torch.relu(self.hidden(pooled)))
        return self.out(hidden)[:, 0], self.phrase(hidden)


NETWORKS: dict[Kind, type[OfEmbedding]] = {"embedding": OfEmbedding, "ears": OfEars}


@dataclass(frozen=True)
class Examples:
    """What the networks look at, by kind; how many steps of it count; what is true."""

    seen: dict[Kind, npt.NDArray[np.float16]]
    steps: dict[Kind, npt.NDArray[np.int64]]
    takes: npt.NDArray[np.float32]
    texts: npt.NDArray[np.str_]

    @staticmethod
    def of(clips: list[Clip], copies: int, seed: int, kinds: Sequence[Kind] = KINDS) -> Examples:
        """Each clip spoiled `copies` times, and sounds of nobody."""
        count = int(len(clips) * copies * (1 + NO_VOICES))
        made: list[Example] = []
        with Pool(initializer=_given, initargs=(clips, len(clips) * copies, seed, kinds)) as pool:
            for number, example in enumerate(pool.imap(_example, range(count), 64), 1):
                if example is not None:
                    made.append(example)
                if number % 5000 == 0:
                    print(f"{number} of {count} examples", flush=True)
        takes, texts, seen = zip(*made, strict=True)
        steps = {kind: np.array([len(one[kind]) for one in seen]) for kind in kinds}
        return Examples(
            {
                kind: _side_by_side([one[kind] for one in seen], int(steps[kind].max()))
                for kind in kinds
            },
            steps,
            np.array(takes, np.float32),
            np.array(texts),
        )


Example = tuple[int, str, dict[Kind, npt.NDArray[np.float16]]]


def _side_by_side(rows: list[npt.NDArray[np.float16]], steps: int) -> npt.NDArray[np.float16]:
    """[examples, steps, numbers], zeros behind what is shorter."""
    made = np.zeros((len(rows), steps, rows[0].shape[1]), np.float16)
    for number, row in enumerate(rows):
        made[number, : len(row)] = row
    return made


_work: dict[str, Any] = {}
"""What each process of the pool was given."""


def _given(clips: list[Clip], said: int, seed: int, kinds: Sequence[Kind]) -> None:
    others = [sound for _, _, sound in clips]
    embedding, encoder = SpeechEmbedding(), TurnEncoder()
    looks = {
        "spectrogram": spectrogram,
        "embedding": lambda sound: embedding(without_steady_noise(sound), STEPS),
        "ears": encoder,
    }
    looks = {kind: looks[kind] for kind in kinds}
    _work.update(clips=clips, others=others, said=said, seed=seed, looks=looks)


def _example(number: int) -> Example | None:
    """One clip or, from number `said` on, nobody's sound; the same for the same seed and number."""
    rng = np.random.default_rng((_work["seed"], number))
    takes, text, clip = _work["clips"][number % len(_work["clips"])]
    if number < _work["said"]:
        sound = spoiled(clip / 32768, _work["others"], rng)
    else:
        takes, text = 0, NOBODY
        sound = spoiled(no_voice(_work["others"], rng), _work["others"], rng)
    if sound is None:
        return None
    return (
        takes,
        text,
        {kind: look(sound).astype(np.float16) for kind, look in _work["looks"].items()},
    )


def shipped() -> list[Clip]:
    """The callers of the benchmark: their backchannels and their interruptions of less than 1.6 s."""
    clips = [clip for folder in (None, DUPLEX) for clip in _loaded(folder)]
    kinds = {"backchannel": 0, "interruption": 1}
    return [(kinds[c.kind], c.text, wav.read(c.path)) for c in clips if c.kind in kinds]


def _loaded(folder: Path | None) -> list[caller_set.Clip]:
    return list(caller_set.load() if folder is None else caller_set.load(folder))


def score(odds: npt.NDArray[np.float32], takes: npt.NDArray[np.float32]) -> tuple[float, float]:
    """The area under the curve; the share found at 5 % mistaken."""
    yes, no = odds[takes > 0.5], odds[takes < 0.5]
    area = float(np.mean(yes[:, None] > no[None]))
    return area, float(np.mean(yes > np.quantile(no, 0.95)))


def train(
    kind: Kind, examples: Examples, held: Examples, epochs: int, rate: float, seed: int
) -> nn.Module:
    """Cross entropy, smoothed by 2 %; one cycle of the learning rate.

    Of a spectrogram time and bands are masked by chance; of an embedding the phrase is learnt besides.
    """
    torch.manual_seed(seed)
    phrases, which = np.unique(examples.texts, return_inverse=True)
    network = NETWORKS[kind](len(phrases)) if kind in NETWORKS else Network()
    rng = np.random.default_rng(seed)
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
            x = torch.from_numpy(examples.seen[kind][chosen].astype(np.float32))
            if kind == "spectrogram":
                x = _masked(x, rng)
            takes = torch.from_numpy(examples.takes[chosen])
            weights = torch.where(takes > 0.5, (1 - share) / share, 1.0)
            odds, said = network(x, torch.from_numpy(examples.steps[kind][chosen]))
            losses = functional.binary_cross_entropy_with_logits(
                odds, takes * 0.96 + 0.02, reduction="none"
            )
            loss = (losses * weights).mean()
            if said is not None:
                words = torch.from_numpy(which[chosen])
                loss = loss + WORDS * functional.cross_entropy(said, words, label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            loss_sum += loss.item() * BATCH / len(order)
        area, found = score(judged(network, kind, held), held.takes)
        print(
            f"{kind} {seed + 1}, epoch {epoch + 1} of {epochs}, {time.monotonic() - began:.0f} s: "
            f"loss {loss_sum:.3f}; "
            f"shipped callers: area {area:.3f}, {100 * found:.0f} % found at 5 % mistaken",
            flush=True,
        )
    return network


def _masked(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    x = torch.roll(x, int(rng.integers(-15, 16)), 1)
    for _ in range(2):
        first = rng.integers(BANDS - 4)
        x[:, :, first : first + rng.integers(6)] = x.mean()
    return x


def judged(network: nn.Module, kind: Kind, examples: Examples) -> npt.NDArray[np.float32]:
    """Log-odds of each."""
    network.eval()
    with torch.no_grad():
        parts = [
            network(
                torch.from_numpy(examples.seen[kind][at : at + 512].astype(np.float32)),
                torch.from_numpy(examples.steps[kind][at : at + 512]),
            )[0]
            for at in range(0, len(examples.takes), 512)
        ]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def folded(network: nn.Module) -> dict[str, Array]:
    """Its arrays, each normalisation behind a convolution folded into it."""
    arrays: dict[str, Array] = {}
    for number, (layer, norm) in enumerate(zip(network.layers, network.norms, strict=True)):
        gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
        weights = layer.weight.detach() * gain[:, None, None]
        arrays[f"conv{number}"] = weights.permute(2, 1, 0).numpy()
        arrays[f"bias{number}"] = (
            ((layer.bias - norm.running_mean) * gain + norm.bias).detach().numpy()
        )
    if isinstance(network, OfEmbedding):
        arrays["mean"] = network.norm.running_mean.numpy()
        arrays["scale"] = torch.rsqrt(network.norm.running_var + network.norm.eps).numpy()
    arrays["hidden"] = network.hidden.weight.detach().numpy()
    arrays["hidden_bias"] = network.hidden.bias.detach().numpy()
    arrays["out"] = network.out.weight.detach().numpy()[0]
    arrays["out_bias"] = network.out.bias.detach().numpy()[0]
    return arrays


def trained(kind: Kind, seed: int) -> dict[str, Array]:
    """One network, on one thread; `_work` has the examples and the rest of the order."""
    torch.set_num_threads(1)
    return folded(train(kind, _work["examples"], _work["held"], _work["epochs"], RATE_MOST, seed))


def kept(path: Path, kinds: Sequence[Kind]) -> dict[str, dict[str, Array]]:
    """Networks of the file that are of none of these kinds."""
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != "gains"}
    named: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        network, _, rest = name.partition(".")
        named.setdefault(network, {})[rest] = array
    return {n: a for n, a in named.items() if FloorNetwork(a).kind not in kinds}


def weighed(networks: dict[str, dict[str, Array]], held: Examples) -> Array:
    """How much the odds of each kind count: a logistic regression on the shipped callers, three numbers.

    Of all three at once, though the slow kind is asked only where the others are not sure.
    """
    odds = np.array([_odds(networks, kind, held) for kind in KINDS]).T
    gains = TRUST * _gains(odds, held.takes)
    quick = odds[:, :2] @ gains[:2]
    unsure = np.abs(quick) < SURE
    for name, all_of_it in (("quick", quick), ("all", quick + unsure * odds[:, 2] * gains[2])):
        area, found = score(all_of_it.astype(np.float32), held.takes)
        print(
            f"{name}: shipped callers: area {area:.3f}, {100 * found:.0f} % found at 5 % mistaken"
        )
    return gains


def _odds(networks: dict[str, dict[str, Array]], kind: Kind, held: Examples) -> list[float]:
    """The mean of all networks of a kind, of each example; zeros where there is none."""
    mine = [network for a in networks.values() if (network := FloorNetwork(a)).kind == kind]
    rows = zip(held.seen[kind].astype(np.float32), held.steps[kind], strict=True)
    return [
        float(np.mean([n.odds(row[:steps]) for n in mine])) if mine else 0.0 for row, steps in rows
    ]


def _gains(odds: npt.NDArray[Any], takes: npt.NDArray[np.float32]) -> Array:
    """What the columns are multiplied with before they are added."""
    x = torch.tensor(odds, dtype=torch.float32)
    gains = torch.full((odds.shape[1],), 0.5, requires_grad=True)
    share = float(takes.mean())
    truth = torch.from_numpy(takes)
    weights = torch.where(truth > 0.5, (1 - share) / share, 1.0)
    optimiser = torch.optim.LBFGS([gains], max_iter=100)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = functional.binary_cross_entropy_with_logits(x @ gains, truth, weight=weights)
        value.backward()
        return value

    optimiser.step(loss)
    return np.asarray(gains.detach().numpy(), np.float32)


def written(networks: dict[str, dict[str, Array]], gains: Array, path: Path) -> None:
    """All in one file, as 16-bit floats."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = {
        f"{network}.{name}": np.asarray(array, np.float16)
        for network, arrays in networks.items()
        for name, array in arrays.items()
    }
    np.savez_compressed(path, gains=gains, **small)  # type: ignore[arg-type] # numpy's stub: names of its own


def main() -> None:
    """Make the examples, train, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True, nargs="+")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--kind", choices=("all", *KINDS), default="all")
    parser.add_argument("--networks", type=int, default=4, help="of each kind")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--copies", type=int, default=2, help="times each clip is spoiled")
    order = parser.parse_args()
    clips = [clip for path in order.clips for clip in clips_of(path)]
    held = Examples.of([c for c in shipped() if len(c[2]) < 1.6 * RATE], 6, 1)
    kinds: list[Kind] = list(KINDS) if order.kind == "all" else [order.kind]
    examples = Examples.of(clips, order.copies, 2, kinds)
    _work.update(examples=examples, held=held, epochs=order.epochs)
    jobs = [(kind, seed) for kind in kinds for seed in range(order.networks)]
    with Pool() as pool:
        made = pool.starmap(trained, jobs, 1)
    networks = kept(order.out, kinds)
    networks |= {f"{kind}{seed + 1}": a for (kind, seed), a in zip(jobs, made, strict=True)}
    written(networks, weighed(networks, held), order.out)
    print(f"{order.out}: {order.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
