"""What is done to the fleet, and when: a seed and a length go in, a list of faults comes out. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["kill", "wedge", "reset", "slow disk", "exception", "hang", "garbage", "clock jump"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Phase = Literal["any", "caller speaks", "agent speaks", "cancel", "opening", "closing"]
PHASES: tuple[Phase, ...] = get_args(Phase)
ACTORS = ("audio_in", "stt", "turn_manager", "llm", "tts", "playback", "breaker")
DECODER, BROKER, PROXY = "decoder", "broker", "model server"
PAIRS = 0.3
"""Share of strikes that are two at once, at most PAIR_S apart."""
PAIR_S = 0.3

WAYS: dict[Kind, tuple[tuple[str, str], ...]] = {
    "kill": (
        *((actor, "") for actor in ACTORS),
        *(("audio_in", ""), ("stt", ""), ("turn_manager", "")),
        *((DECODER, ""), (BROKER, ""), ("warden", ""), ("responder", "")),
    ),
    "wedge": (*((actor, "") for actor in ACTORS), (BROKER, "")),
    "reset": (*((actor, "") for actor in ACTORS), (PROXY, "reset"), (PROXY, "refuse")),
    "slow disk": (
        *(("audio_in", "slow"), ("audio_in", "blocks"), ("audio_in", "full")),
        *(("stt", "slow"), ("stt", "full"), ("turn_manager", "slow"), ("turn_manager", "full")),
    ),
    "exception": (
        *(("stt", at) for at in ("open", "begin", "feed", "finish", "results", "batch")),
        *(("tts", "stream"), ("audio_in", "vad")),
    ),
    "hang": ((DECODER, ""), (DECODER, ""), ("stt", "batch"), ("tts", "stream"), (PROXY, "stall")),
    "garbage": (
        *(("stt", "results"), ("stt", "results"), ("stt", "batch")),
        *(("tts", "stream"), (PROXY, "garbage")),
    ),
    "clock jump": (("all", "wall"), ("turn_manager", "wall"), ("all", "stands still")),
}
"""Victims of each kind, and how it is done to them."""


@dataclass(frozen=True)
class Fault:
    """One fault, `at_s` into the run, as soon as `phase` comes; `for_s`: how long it lasts.

    `pair`: the number of the strike it belongs to; two faults with the same one come together.
    """

    at_s: float
    kind: Kind
    victim: str
    how: str
    phase: Phase
    for_s: float
    pair: int

    def __str__(self) -> str:
        return f"{self.kind}: {self.victim}{f' ({self.how})' if self.how else ''}, {self.phase}"


def plan(seed: int, seconds: float, every_s: float, kinds: Sequence[Kind] = KINDS) -> list[Fault]:
    """Faults for `seconds`, one every `every_s` on average; each kind as often as any other."""
    dice = random.Random(seed)
    faults: list[Fault] = []
    at_s, deck, strike = 0.0, list[Kind](), 0
    while at_s < seconds:
        size = 2 if dice.random() < PAIRS else 1
        strike += 1
        phase = dice.choice(PHASES)
        for number in range(size):
            if not deck:
                deck = list(kinds)
                dice.shuffle(deck)
            kind = deck.pop()
            victim, how = dice.choice(WAYS[kind])
            faults.append(
                Fault(
                    at_s=round(at_s + number * dice.uniform(0, PAIR_S), 3),
                    kind=kind,
                    victim=victim,
                    how=how,
                    phase=phase if number == 0 else "any",
                    for_s=round(dice.uniform(0.4, 2.5), 3),
                    pair=strike,
                )
            )
        at_s += size * every_s * dice.uniform(0.5, 1.5)
    return [fault for fault in faults if fault.at_s < seconds]
