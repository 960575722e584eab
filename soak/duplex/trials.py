"""In come a seed and the shipped clips; out goes a list of trials, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, TypeVar, get_args

import msgspec

from bus.errors import BargeinError
from soak import caller_set
from soak.caller_set import FOLDER, Clip

Kind = Literal["interruption", "backchannel", "noise", "pause", "resumption"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OVER_AGENT: tuple[Kind, ...] = ("interruption", "backchannel", "noise")
"""Kinds that sound while the agent speaks; the others are a caller's own turn."""
SHARES: dict[Kind, int] = {
    "interruption": 42,
    "backchannel": 24,
    "noise": 16,
    "pause": 9,
    "resumption": 9,
}
DUPLEX = FOLDER / "duplex"
SYNTHETIC = {"music": (-26.0, -32.0, -38.0), "babble": (-29.0, -35.0, -41.0), "ring": (-26.0,)}
"""Noises made on the spot, at these levels (dBFS). A caller speaks at -20: babble at 9, 15, 21 dB SNR."""
BEDS = ("hiss", "hum", "babble")
PAUSES_MS = (300, 900)
UNHEARD_OVER_TELEPHONE = "long_request-please_tell_me_the_story_of_the_three_little_pigs-awb.wav"
"""It comes out as "was joey" there; of the others "story" is heard, too."""
RESUMES_MS = (200, 500), (600, 750)
"""Within the endpoint wait; and while the answer is being thought of, every third time."""
T = TypeVar("T")


class BadTrials(BargeinError):
    """No trials can be made of what was asked for."""

    exit_code = 64


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One call to come. `parts`: WAV paths (or the name of a synthetic noise) said after one another.

    `texts` and `known` say for each part what was said, and what the embedded recogniser makes of it
    alone. `snr_db` counts from the clip's own level to the `bed` under it. `after_s` is how long the
    agent has spoken before. `onset` and `end` (16 kHz samples) are given for recordings only.
    """

    name: str
    kind: Kind
    parts: tuple[str, ...]
    texts: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    voice: str = ""
    request: str = ""
    seed: int = 0
    gap_ms: int = 0
    speed: float = 1.0
    gain_db: float = 0.0
    level_dbfs: float = -20.0
    room_s: float = 0.0
    telephone: bool = False
    bed: str = ""
    snr_db: float = 0.0
    after_s: float = 2.0
    onset: int = -1
    end: int = -1

    @property
    def over_agent(self) -> bool:
        """Whether it is said while the agent speaks."""
        return self.kind in OVER_AGENT

    @property
    def conditions(self) -> str:
        """How the clip was changed, with units."""
        words = [f"{self.gain_db:+.0f} dB", f"x{self.speed:.2f}"]
        words += [f"room {self.room_s * 1000:.0f} ms"] * bool(self.room_s)
        words += ["8 kHz"] * self.telephone
        words += [f"{self.bed} at {self.snr_db:.0f} dB SNR"] * bool(self.bed)
        words += [f"gap {self.gap_ms} ms"] * bool(self.gap_ms)
        return ", ".join(words)


def make(count: int, seed: int, kinds: Sequence[Kind] = KINDS) -> list[Trial]:
    """`count` trials, shuffled, in the proportions of SHARES; every clip comes up before one repeats."""
    rng = random.Random(seed)
    makers = _makers(rng)
    wanted = _shares(count, kinds)
    rng.shuffle(wanted)
    requests = _deck(rng, long_requests())
    return [
        _varied(rng, msgspec.structs.replace(makers[kind](), name=f"{number:03d}-{kind}"), requests)
        for number, kind in enumerate(wanted)
    ]


def of_kinds(text: str) -> list[Kind]:
    """ "interruption,noise" as kinds. Raises BadTrials."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    wrong = [name for name in names if name not in KINDS]
    if wrong or not names:
        raise BadTrials(f"--kinds {text!r}: use some of {','.join(KINDS)}")
    return [kind for kind in KINDS if kind in names]


def _shares(count: int, kinds: Sequence[Kind]) -> list[Kind]:
    """Which kind how often: the largest remainder decides, the sum is `count`."""
    if count < 1:
        raise BadTrials(f"{count} trials: ask for at least 1")
    total = sum(SHARES[kind] for kind in kinds)
    exact = {kind: count * SHARES[kind] / total for kind in kinds}
    whole = {kind: int(share) for kind, share in exact.items()}
    rest = sorted(kinds, key=lambda kind: whole[kind] - exact[kind])
    for kind in rest[: count - sum(whole.values())]:
        whole[kind] += 1
    return [kind for kind in kinds for _ in range(whole[kind])]


def _makers(rng: random.Random) -> dict[Kind, Callable[[], Trial]]:
    clips = caller_set.load() + caller_set.load(DUPLEX)
    decks = {
        kind: _deck(rng, [clip for clip in clips if clip.kind == kind])
        for kind in ("interruption", "backchannel", "noise", "opening", "addition")
    }
    questions = {
        voice: _deck(rng, [c for c in clips if (c.kind, c.voice) == ("question", voice)])
        for voice in ("slt", "awb", "rms", "kal16")
    }
    noises = _deck(rng, [*[None] * 9, *((n, dbfs) for n, at in SYNTHETIC.items() for dbfs in at)])
    gaps = _deck(rng, [RESUMES_MS[0], RESUMES_MS[0], RESUMES_MS[1]])
    return {
        "interruption": lambda: _said("interruption", next(decks["interruption"])),
        "backchannel": lambda: _said("backchannel", next(decks["backchannel"])),
        "noise": lambda: _noise(next(noises), decks["noise"]),
        "pause": partial(_pause, rng, decks["opening"], questions),
        "resumption": partial(_resumption, rng, gaps, decks["addition"], questions),
    }


def _deck(rng: random.Random, cards: Sequence[T]) -> Iterator[T]:
    """All of them in a random order, shuffled anew each time round."""
    while True:
        yield from rng.sample(cards, len(cards))


def _said(kind: Kind, *clips: Clip) -> Trial:
    return Trial(
        name="",
        kind=kind,
        parts=tuple(str(clip.path) for clip in clips),
        texts=tuple(clip.text for clip in clips),
        known=tuple(clip.pocketsphinx_live or clip.text for clip in clips),
        voice=clips[0].voice,
    )


def _noise(synthetic: tuple[str, float] | None, shipped: Iterator[Clip]) -> Trial:
    if synthetic is None:
        return _said("noise", next(shipped))
    name, dbfs = synthetic
    return Trial(name="", kind="noise", parts=(name,), texts=(name,), level_dbfs=dbfs)


def _pause(
    rng: random.Random, openings: Iterator[Clip], questions: dict[str, Iterator[Clip]]
) -> Trial:
    opening = next(openings)
    made = _said("pause", opening, next(questions[opening.voice]))
    return msgspec.structs.replace(made, gap_ms=rng.randint(*PAUSES_MS))


def _resumption(
    rng: random.Random,
    gaps: Iterator[tuple[int, int]],
    additions: Iterator[Clip],
    questions: dict[str, Iterator[Clip]],
) -> Trial:
    addition = next(additions)
    made = _said("resumption", next(questions[addition.voice]), addition)
    return msgspec.structs.replace(made, gap_ms=rng.randint(*next(gaps)))


def long_requests() -> list[str]:
    """Those of the long requests that the embedded recogniser and responder take for a story."""
    found = caller_set.find("long_request")
    return [
        str(clip.path)
        for clip in found
        if "story" in clip.pocketsphinx_live.split() and clip.path.name != UNHEARD_OVER_TELEPHONE
    ]


def _varied(rng: random.Random, trial: Trial, requests: Iterator[str]) -> Trial:
    """Another speed, loudness, room, line and background each time."""
    bed = rng.choice(BEDS) if rng.random() < 0.35 else ""
    return msgspec.structs.replace(
        trial,
        seed=rng.getrandbits(32),
        request=next(requests) if trial.over_agent else "",
        speed=round(rng.uniform(0.92, 1.08), 3),
        gain_db=round(rng.uniform(-12, 6), 1),
        room_s=round(rng.uniform(0.15, 0.5), 2) if rng.random() < 0.35 else 0.0,
        telephone=rng.random() < 0.3,
        bed=bed,
        snr_db=float(rng.choice((12, 16, 20, 25))) if bed else 0.0,
        after_s=round(rng.uniform(1.2, 4.0), 2),
    )
