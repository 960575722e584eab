"""Segments of a transcript: what may be joined, and whether every sample is accounted for once. Pure.

A segment covers samples [start, end) of one channel at 16 kHz. `live` and `batch` carry words, `quiet`
none. `late` and `lost` are remarks: words of a session that was given up already, and samples that could
not be got back. They cover nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from schemas import Word

Kind = Literal["live", "batch", "quiet", "late", "lost"]
COVERS: frozenset[Kind] = frozenset({"live", "batch", "quiet"})


class Segment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a transcript. `utterance` names the onset; `more`: it goes on in the next one."""

    channel: int
    start: int
    end: int
    kind: Kind
    text: str = ""
    speaker: str = ""
    stt_session: str | None = None
    utterance: int | None = None
    more: bool = False
    words: tuple[Word, ...] = ()

    @property
    def covers(self) -> bool:
        """Whether its samples count as accounted for."""
        return self.kind in COVERS


def may_merge(a: Segment, b: Segment) -> bool:
    """The same session merges, different ones never; a session that is not known merges with any."""
    if (a.channel, a.speaker) != (b.channel, b.speaker) or not (a.covers and b.covers):
        return False
    if a.end != b.start:
        return False
    return a.stt_session == b.stt_session or None in (a.stt_session, b.stt_session)


def merge(a: Segment, b: Segment) -> Segment:
    """Two that may be merged, as one; it keeps the session that is known."""
    kind: Kind = b.kind if a.kind == "quiet" else a.kind
    return Segment(
        channel=a.channel,
        start=a.start,
        end=b.end,
        kind=kind,
        text=" ".join(filter(None, (a.text, b.text))),
        speaker=a.speaker,
        stt_session=a.stt_session or b.stt_session,
        utterance=a.utterance if a.utterance is not None else b.utterance,
        more=b.more,
        words=a.words + b.words,
    )


def merged(segments: Iterable[Segment]) -> list[Segment]:
    """Neighbours joined wherever they may be, in the order of the call; remarks stay by themselves."""
    done: list[Segment] = []
    last: dict[int, int] = {}
    for segment in ordered(segments):
        at = last.get(segment.channel)
        if at is not None and may_merge(done[at], segment):
            done[at] = merge(done[at], segment)
            continue
        if segment.covers:
            last[segment.channel] = len(done)
        done.append(segment)
    return done


def ordered(segments: Iterable[Segment]) -> list[Segment]:
    """By time; the order of a channel's own segments in the file is kept where they begin together."""
    return sorted(segments, key=lambda segment: (segment.start, segment.end))


def covered_to(segments: Iterable[Segment], channel: int) -> int:
    """The sample up to which a channel is accounted for."""
    return max((s.end for s in segments if s.channel == channel and s.covers), default=0)


def problems(segments: Sequence[Segment], end: int | None = None) -> list[str]:
    """Holes, overlaps, disorder and losses, in words; empty when every sample is there once.

    `end`: the sample after the last one of the call, if it is known.
    """
    found = []
    for channel in sorted({segment.channel for segment in segments}):
        at = 0
        for segment in segments:
            if segment.channel != channel:
                continue
            if segment.kind == "lost":
                found.append(
                    f"channel {channel}: samples {segment.start} to {segment.end} are lost"
                )
            if not segment.covers:
                continue
            if segment.end <= segment.start:
                found.append(f"channel {channel}: an empty segment at {segment.start}")
            if segment.start > at:
                found.append(f"channel {channel}: a hole, samples {at} to {segment.start}")
            elif segment.start < at:
                found.append(f"channel {channel}: samples {segment.start} to {at} are there twice")
            at = max(at, segment.end)
        if end is not None and at < end:
            found.append(f"channel {channel}: nothing from sample {at} to the end at {end}")
    return found
