"""Trains the small streaming model of NeMo: synthetic speech goes in, a `.nemo` file below 5 MB comes out.

    .engines/nemo/bin/python -m soak.train_small_nemo --out engines/models/nemo-small.nemo
    .engines/nemo/bin/python -m soak.train_small_nemo --check engines/models/nemo-small.nemo

It needs flite, espeak-ng and festival. What makes it learn in minutes: mel frames brought to mean 0 and
variance 1 (folded into the first convolution), a CTC head beside the transducer, a transducer loss in plain
torch, no dropout, short utterances first. Killed, it goes on where it last saved what it knew.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from soak.nemo_config import config, write_tokenizer
from soak.nemo_speech import (
    EXTRA,
    LEVEL_DBFS,
    Said,
    Sound,
    backgrounds,
    missing,
    noises,
    phrases,
    shipped,
    speech,
    strangers,
)

RATE = 16_000
SEED = 1
TAIL = 5120
"""Samples of silence after an utterance: nemo.tail_ms."""
BATCH = 16
RATE_OF_LEARNING = 1.2e-3
SAVED_EVERY_S = 60.0
TOLD_EVERY_S = 10.0


@dataclass(frozen=True)
class Stock:
    """All that is trained on, the shortest first, and what is mixed into it."""

    said: list[Said]
    silent: list[Said]
    background: Sound


@dataclass
class Learner:
    """A model, the CTC head it learns with, and how far they are."""

    model: Any
    ctc: Any
    optimiser: Any
    steps: int = 0
    seconds: float = 0.0

    @property
    def parameters(self) -> list[Any]:
        return [*self.model.parameters(), *self.ctc.parameters()]

    def save(self, path: Path) -> None:
        import torch

        parts = [part.state_dict() for part in (self.model, self.ctc, self.optimiser)]
        torch.save((parts, self.steps, self.seconds), path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def restore(self, path: Path) -> None:
        import torch

        parts, self.steps, self.seconds = torch.load(path, weights_only=True)
        for mine, state in zip((self.model, self.ctc, self.optimiser), parts, strict=True):
            mine.load_state_dict(state)


# -- what it hears -------------------------------------------------------------------------------


def spoken(file: Path, count: int, making: Iterator[Said]) -> list[Said]:
    """What `making` makes, kept in `file`: that takes minutes."""
    if not file.is_file():
        made = list[Said]()
        for one in making:
            made.append(one)
            if len(made) % 250 == 0:
                print(f"{len(made)} of {count} utterances spoken", flush=True)
        sounds = np.concatenate([np.round(one.sound * 32767).astype(np.int16) for one in made])
        lengths = np.array([len(one.sound) for one in made])
        new = file.with_suffix(".new.npz")
        np.savez(new, sounds=sounds, lengths=lengths, texts=np.array([one.text for one in made]))
        new.replace(file)
    kept = np.load(file)
    cuts = np.split(kept["sounds"], np.cumsum(kept["lengths"])[:-1])
    both = zip(cuts, kept["texts"].tolist(), strict=True)
    return [Said(sound.astype(np.float32) / np.float32(32768), text) for sound, text in both]


def stock(folder: Path, repeats: int, seed: int) -> Stock:
    """`repeats`: of each shipped phrase, three times as many as of each other sentence."""
    often = dict.fromkeys(phrases(), repeats) | dict.fromkeys(EXTRA, repeats // 3)
    making = speech([*phrases(), *EXTRA], often, seed)
    said = spoken(folder / f"speech-{repeats}-{seed}.npz", sum(often.values()), making)
    said.sort(key=lambda one: len(one.sound))
    return Stock(said, noises(60, seed), backgrounds(60, seed))


def on_the_line(one: Said, thrown: random.Random, background: Sound) -> Said:
    """At a pace, a level and amid a background of chance, with silence before and behind it."""
    before, behind = thrown.randrange(0, 11_200), thrown.randrange(0, 8000)
    level_db, noise_dbfs = thrown.uniform(-14, 10), thrown.uniform(-85, -38)
    pace = thrown.uniform(0.92, 1.08) if thrown.random() < 0.7 else 1.0
    at = np.arange(0, len(one.sound) - 1, pace)
    sound = np.interp(at, np.arange(len(one.sound)), one.sound).astype(np.float32)
    sound = np.pad(sound, (before, behind)) * np.float32(10 ** (level_db / 20))
    if thrown.random() < 0.75:
        first = thrown.randrange(len(background) - len(sound))
        noise = background[first : first + len(sound)]
        sound += np.float32(10 ** (noise_dbfs / 20)) * noise
    return Said(np.append(sound.clip(-1, 1), np.zeros(TAIL, np.float32)), one.text)


def batches(learner: Learner, has: Stock, most: int) -> Iterator[list[Said]]:
    """Of BATCH utterances of about the same length. Which, depends on the number of the step alone."""
    while learner.steps < most:
        thrown = random.Random(f"{SEED} {learner.steps}")
        reach = min(1.0, 0.2 + 4 * learner.steps / most)
        known = has.said[: int(len(has.said) * reach)]
        some = [mixed(known, has.silent, thrown, joined=reach == 1.0) for _ in range(4 * BATCH)]
        some.sort(key=lambda one: len(one.sound))
        groups = [some[n : n + BATCH] for n in range(0, len(some), BATCH)]
        thrown.shuffle(groups)
        for group in groups:
            yield [on_the_line(one, thrown, has.background) for one in group]


def mixed(
    known: Sequence[Said], silent: Sequence[Said], thrown: random.Random, joined: bool
) -> Said:
    """One of those known; now and then two of them, or a noise."""
    kind = thrown.random()
    if kind < 0.04:
        return thrown.choice(silent)
    one = thrown.choice(known)
    if kind < 0.2 and joined:
        two = thrown.choice(known[: len(known) // 2])
        gap = np.zeros(thrown.randrange(800, 8000), np.float32)
        return Said(np.concatenate([one.sound, gap, two.sound]), f"{one.text} {two.text}")
    return one


# -- how it learns -------------------------------------------------------------------------------


def transducer_loss(logits: Any, targets: Any, frames: Any, lengths: Any, blank: int) -> Any:
    """Negative log likelihood [calls]: Graves 2012, "Sequence transduction", equations 16 and 18.

    `logits` [calls, frames, tokens + 1, classes], `targets` [calls, tokens]; a step of the recursion
    takes a diagonal of the lattice.
    """
    import torch

    calls, most, wide, _ = logits.shape
    scores = logits.log_softmax(-1)
    silent = scores[..., blank]
    told = scores[:, :, :-1].gather(3, targets[:, None, :, None].expand(-1, most, -1, 1))[..., 0]
    nothing = torch.full((calls, 1), -1e30, device=logits.device)
    silent = torch.cat([nothing[..., None].expand(-1, 1, wide), silent], 1)  # one frame later
    told = torch.cat([nothing[..., None].expand(-1, most, 1), told], 2)  # one token later
    at = torch.arange(wide, device=logits.device)
    before = torch.where(at == 0, 0.0, -1e30).expand(calls, wide)
    diagonals = [before]
    for diagonal in range(1, most + wide - 1):
        frame = diagonal - at
        inside = (frame >= 0) & (frame < most)
        clipped = frame.clamp(0, most - 1)
        stay = before + silent[:, clipped, at]
        move = torch.cat([nothing, before[:, :-1]], 1) + told[:, clipped, at]
        before = torch.where(inside, torch.logaddexp(stay, move), nothing)
        diagonals.append(before)
    whole = torch.stack(diagonals, 1)
    rows = torch.arange(calls, device=logits.device)
    last = whole[rows, frames - 1 + lengths, lengths]
    return -(last + scores[rows, frames - 1, lengths, blank])


def tensors(model: Any, said: Sequence[Said]) -> tuple[Any, Any, Any, Any]:
    """Sound [calls, samples] and tokens [calls, tokens], each with its lengths [calls]."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    sounds = [torch.from_numpy(one.sound) for one in said]
    tokens = [
        torch.tensor(model.tokenizer.text_to_ids(one.text), dtype=torch.int64) for one in said
    ]
    lengths = [torch.tensor([len(one) for one in many]) for many in (sounds, tokens)]
    return pad_sequence(sounds, True), lengths[0], pad_sequence(tokens, True), lengths[1]


def losses(learner: Learner, said: Sequence[Said]) -> Any:
    """Transducer and CTC, per token."""
    import torch

    model = learner.model
    sound, samples, tokens, lengths = tensors(model, said)
    with torch.no_grad():
        mel, frames = model.preprocessor(input_signal=sound, length=samples)
        mel = coloured_by(mel, learner.steps)
    heard, frames = model.encoder(audio_signal=mel, length=frames)
    read, _, _ = model.decoder(targets=tokens, target_length=lengths)
    logits = model.joint(encoder_outputs=heard, decoder_outputs=read)
    blank = logits.shape[-1] - 1
    transducer = transducer_loss(logits, tokens, frames, lengths, blank)
    beside = learner.ctc(heard.transpose(1, 2)).log_softmax(-1).transpose(0, 1)
    spelt = torch.nn.functional.ctc_loss(
        beside, tokens, frames, lengths, blank, "none", zero_infinity=True
    )
    return ((transducer + 0.5 * spelt) / lengths.clamp(min=1)).mean()


def coloured_by(mel: Any, step: int) -> Any:
    """Each call through a filter of its own; half of them lose a few bands."""
    import torch

    thrown = np.random.default_rng([SEED, step])
    calls, bands = mel.shape[:2]
    place = np.linspace(-1, 1, bands)
    tilt, bend = thrown.normal(0, 0.5, (2, calls, 1))
    mel = mel + torch.from_numpy(tilt * place + bend * (place**2 - 1 / 3))[..., None].to(mel.dtype)
    for n in range(0, calls, 2):
        first, wide = thrown.integers(0, bands - 12), thrown.integers(2, 13)
        mel[n, first : first + wide] = mel[n].mean()
    return mel


def fold(model: Any, said: Sequence[Said]) -> None:
    """The first convolution takes mel frames as if they had mean 0 and variance 1."""
    import torch

    with torch.no_grad():
        sound, samples, _, _ = tensors(model, said)
        mel, _ = model.preprocessor(input_signal=sound, length=samples)
        first = model.encoder.pre_encode.conv[0]
        first.bias -= first.weight.sum((1, 2, 3)) * mel.mean() / mel.std()
        first.weight /= mel.std()


def train(
    learner: Learner, has: Stock, most: int, kept: Path, tests: dict[str, list[Said]]
) -> None:
    """`most` steps in all; utterances get longer in the first fifth of them."""
    import torch

    began = saved = told = time.monotonic()
    before, mean = learner.seconds, 0.0
    learner.model.train()
    for batch in batches(learner, has, most):
        share = learner.steps / most
        rate = RATE_OF_LEARNING * min(1.0, (learner.steps + 1) / 50, 1.6 * (1 - share) + 0.01)
        for group in learner.optimiser.param_groups:
            group["lr"] = rate
        loss = losses(learner, batch)
        learner.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters, 1.0)
        learner.optimiser.step()
        learner.steps += 1
        mean = 0.98 * mean + 0.02 * float(loss.detach()) if mean else float(loss.detach())
        now = time.monotonic()
        learner.seconds = before + now - began
        if now - told > TOLD_EVERY_S:
            told = now
            print(
                f"step {learner.steps} of {most}, {learner.seconds:.0f} s: loss {mean:.3f} per token",
                flush=True,
            )
        if now - saved > SAVED_EVERY_S and learner.steps % 4 == 0:
            saved = now
            learner.save(kept)
        if learner.steps % max(1, most // 20) == 0:
            figures = [f"{name} {errors(learner.model, said)}" for name, said in tests.items()]
            print(f"step {learner.steps}: {', '.join(figures)}", flush=True)
            learner.model.train()
    learner.model.eval()


# -- what it makes of it -------------------------------------------------------------------------


def heard_by(model: Any, said: Sequence[Said]) -> list[str]:
    """What it makes of whole utterances."""
    import torch

    model.eval()
    texts = list[str]()
    for n in range(0, len(said), BATCH):
        ended = [Said(np.pad(one.sound, (TAIL, TAIL)), one.text) for one in said[n : n + BATCH]]
        with torch.inference_mode():
            sound, samples, _, _ = tensors(model, ended)
            mel, frames = model.preprocessor(input_signal=sound, length=samples)
            heard, frames = model.encoder(audio_signal=mel, length=frames)
            told = model.decoding.rnnt_decoder_predictions_tensor(heard, frames, True)
        texts += [one.text for one in told]
    return texts


def errors(model: Any, said: Sequence[Said]) -> str:
    """Words wrong of words said."""
    pairs = zip(said, heard_by(model, said), strict=True)
    wrong = sum(distance(one.text.split(), text.split()) for one, text in pairs)
    words = sum(len(one.text.split()) for one in said)
    return f"{wrong} of {words} words wrong ({100 * wrong / max(1, words):.1f} %)"


def distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Words to insert, delete or replace (Levenshtein)."""
    row = list(range(len(other) + 1))
    for n, word in enumerate(one, 1):
        corner, row[0] = row[0], n
        for m, with_word in enumerate(other, 1):
            corner, row[m] = row[m], min(row[m] + 1, row[m - 1] + 1, corner + (word != with_word))
    return row[-1]


def check(path: Path, strange: list[Said]) -> None:
    """What a model of this kind gets wrong, noise or not."""
    from engines.nemo_stack import NemoSettings, restored

    model = restored("--check", str(path), NemoSettings(device="cpu", cpu_threads=2))
    print(f"voices held out: {errors(model, strange)}")
    print(f"shipped callers: {errors(model, shipped())}")
    background, thrown = backgrounds(60, SEED + 1), random.Random(SEED)
    for below_db in (20, 10, 5):
        said = [amid(one, background, below_db, thrown) for one in shipped()]
        print(f"shipped callers, noise {below_db} dB below the speech: {errors(model, said)}")


def amid(one: Said, background: Sound, below_db: float, thrown: random.Random) -> Said:
    """In a noise so far below the speech."""
    first = thrown.randrange(len(background) - len(one.sound))
    noise = np.float32(10 ** ((LEVEL_DBFS - below_db) / 20)) * background[first:]
    return Said(one.sound + noise[: len(one.sound)], one.text)


# -- all of it -----------------------------------------------------------------------------------


def learner_for(tokenizer: Path) -> Learner:
    """Random weights: four layers of 96, 80 ms to look ahead."""
    import torch
    from nemo.collections.asr.models import EncDecRNNTBPEModel

    torch.manual_seed(SEED)
    shape = config(tokenizer, width=96, layers=4, contexts=((70, 1),), widening=4)
    model = EncDecRNNTBPEModel(shape)
    model.preprocessor.featurizer.dither = 0.0
    ctc = torch.nn.Linear(96, model.joint.num_classes_with_blank)
    optimiser = torch.optim.AdamW(
        [*model.parameters(), *ctc.parameters()],
        lr=RATE_OF_LEARNING,
        betas=(0.9, 0.98),
        weight_decay=1e-3,
    )
    return Learner(model, ctc, optimiser)


def main() -> None:
    """See above."""
    asked = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    does = asked.add_mutually_exclusive_group(required=True)
    does.add_argument("--out", type=Path, help="the .nemo file to write")
    does.add_argument("--check", type=Path, help="a .nemo file to count the errors of instead")
    asked.add_argument("--steps", type=int, default=4000, help="of 16 utterances. Default 4000")
    asked.add_argument("--repeats", type=int, default=42, help="of each phrase. Default 42")
    asked.add_argument("--threads", type=int, default=2, help="torch may use. Default 2")
    asked.add_argument("--work", type=Path, default=Path("var/nemo-small"), help="what is kept")
    given = asked.parse_args()
    if lost := missing():
        sys.exit(lost)
    import torch

    torch.set_num_threads(given.threads)
    given.work.mkdir(parents=True, exist_ok=True)
    file, count = given.work / f"strangers-{SEED}.npz", 4 * len(phrases())
    strange = spoken(file, count, strangers(phrases(), SEED))
    if given.check:
        check(given.check, strange)
        return
    has = stock(given.work, given.repeats, SEED)
    tests = {"shipped callers": shipped(), "voices held out": strange}
    print(f"{len(has.said)} utterances, {sum(len(s.sound) for s in has.said) / RATE:.0f} s")
    with tempfile.TemporaryDirectory() as name:
        learner = learner_for(write_tokenizer(Path(name), [*phrases(), *EXTRA], 128))
        weights = sum(one.numel() for one in learner.model.parameters())
        print(f"{weights / 1e6:.2f} million parameters")
        thrown = random.Random(SEED)
        fold(learner.model, [on_the_line(s, thrown, has.background) for s in has.said[::100]])
        kept = given.work / "learner.pt"
        if kept.is_file():
            learner.restore(kept)
            print(f"going on after step {learner.steps}")
        train(learner, has, given.steps, kept, tests)
        learner.save(kept)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        learner.model.save_to(str(given.out))
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
