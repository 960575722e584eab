"""A transcript and the caller's own recording go in; samples lost, twice or out of order come out. Pure.

Two accounts. By position: the segments of a channel must cover [0, end) once, in their order. By content:
whatever a recogniser was given for a segment must be those very samples of the caller's recording.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zlib import crc32

import msgspec

from actors.segments import Segment

_WORD = re.compile(r"[a-z']+")


class Fed(msgspec.Struct, frozen=True):
    """A recogniser gave words for samples [start, end), and these were what it was given."""

    start: int
    end: int
    crc: int
    batch: bool = False


@dataclass(frozen=True)
class Account:
    """Samples of one channel of one call."""

    samples: int = 0
    transcribed: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    strange: int = 0
    """In a segment whose recogniser was given other samples than these, or none."""

    def __add__(self, other: Account) -> Account:
        return Account(*(a + b for a, b in zip(self.numbers, other.numbers, strict=True)))

    @property
    def numbers(self) -> tuple[int, ...]:
        """All six, in order."""
        return (
            *(self.samples, self.transcribed, self.lost),
            *(self.duplicated, self.reordered, self.strange),
        )

    @property
    def exact(self) -> bool:
        """Everything once, in order, from the right samples."""
        return not (self.lost or self.duplicated or self.reordered or self.strange)


def by_position(segments: Sequence[Segment], end: int) -> Account:
    """One channel's segments in the order of the file, of a call of `end` samples."""
    spans = [(max(0, s.start), min(end, s.end)) for s in segments if s.covers]
    covered = at = 0
    for start, stop in sorted(spans):
        covered += max(0, stop - max(start, at))
        at = max(at, stop)
    twice = sum(stop - start for start, stop in spans) - covered
    at = reordered = 0
    for start, stop in spans:
        reordered += stop - start if start < at and stop <= at else 0
        at = max(at, stop)
    given_up = sum(s.end - s.start for s in segments if s.kind == "lost")
    lost = end - covered + min(covered, given_up)
    return Account(end, end - lost, lost, twice, reordered)


def by_content(segments: Sequence[Segment], caller: bytes, fed: Iterable[Fed]) -> int:
    """Samples of segments with words that no recogniser was given as the caller said them.

    `caller`: mono int16 at 16 kHz, the whole call.
    """
    true = [(one.start, one.end, one.batch) for one in fed if _is_true(one, caller)]
    return sum(
        segment.end - segment.start
        for segment in segments
        if segment.kind in ("live", "batch") and not _is_in(segment, true)
    )


def _is_true(one: Fed, caller: bytes) -> bool:
    return crc32(caller[2 * one.start : 2 * one.end]) == one.crc and 2 * one.end <= len(caller)


def _is_in(segment: Segment, true: Sequence[tuple[int, int, bool]]) -> bool:
    """A live segment is what its recogniser was given; of a batch it is a part."""
    if segment.kind == "live":
        return (segment.start, segment.end, False) in true
    return any(start <= segment.start and segment.end <= end for start, end, batch in true if batch)


@dataclass(frozen=True)
class Words:
    """Of `said` words in the call, `missing` are nowhere in the transcript in their place."""

    said: int = 0
    missing: int = 0
    more: int = 0

    def __add__(self, other: Words) -> Words:
        return Words(self.said + other.said, self.missing + other.missing, self.more + other.more)


def words(said: str, heard: str) -> Words:
    """What was said against what was understood."""
    one, other = _WORD.findall(said.lower()), _WORD.findall(heard.lower())
    blocks = difflib.SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    same = sum(block.size for block in blocks)
    return Words(len(one), len(one) - same, len(other) - same)
