"""The caller's end: sound as it arrives at the line, and what the line really played."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from schemas.event import Audio, Event, Position, Rate, Report


class LinePcm(Audio, frozen=True, tag="line.pcm"):
    """Caller sound as the line numbered it, at the line's own rate. Media lane.

    `again`: sent once more because audio_in asked (LineResend).
    """

    first: Annotated[int, Meta(ge=0, le=1 << 50)] = 0  # at 16 kHz still a Position
    channel: int = 0
    again: bool = False


class LinePlayed(Report, frozen=True, tag="line.played"):
    """The line has played `samples` of `turn` (at `rate` Hz, counted from the turn's first sample).

    Sent every 100 ms while the agent speaks and once, `ended=True`, when the turn's sound is over
    or was cut.
    """

    samples: Position
    rate: Rate
    ended: bool = False
    cut: bool = False


class LineLost(Event, frozen=True, tag="line.lost"):
    """No caller sound for `silent_ms`: the line is gone without a goodbye. Sent by audio_in."""

    silent_ms: int
