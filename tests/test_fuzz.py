"""Random and mutated frames on every lane and door: no crash, no stall, every bad one counted."""

from __future__ import annotations

import asyncio
import os
from collections import Counter

import structlog

from soak import fuzz
from soak.babble import Babbler, refused

FRAMES = int(os.environ.get("BARGEIN_FUZZ_FRAMES", "10000"))


async def test_no_frame_stops_or_stalls_an_actor_and_all_are_counted() -> None:
    """`python -m soak.fuzz --frames 100000` is the whole of it."""
    with structlog.testing.capture_logs() as lines:
        async with asyncio.timeout(110):
            figures = await fuzz.run(FRAMES, seed=7)
    assert figures.breaches == []
    assert set(figures.sent) == set(fuzz.WAYS)
    assert all(figures.bad[way] > figures.sent[way] / 3 for way in fuzz.WAYS)
    told = Counter(str(line["event"]) for line in lines)
    assert told["react failed"] == 0
    refusals = [line for line in lines if "refused" in str(line["event"])]
    lanes = 2 * 7  # a link and a control lane for each of the seven
    assert 0 < len(refusals) <= lanes * (figures.took_s + 2), "a flood would fill the disk"
    assert {line["log_level"] for line in refusals} == {"warning"}


def test_a_seed_gives_the_same_frames_again() -> None:
    one, other = Babbler(3), Babbler(3)
    for _ in range(200):
        assert one.mutated(one.message()) == other.mutated(other.message())


def test_messages_are_valid_and_most_mutations_are_not() -> None:
    babbler = Babbler(4)
    messages = [babbler.message() for _ in range(500)]
    assert not any(map(refused, messages))
    assert sum(map(refused, map(babbler.mutated, messages))) > 300
