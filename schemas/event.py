"""What every event has in common: in comes nothing, out go the base structs all nouns build on."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Rate = Annotated[int, Meta(ge=4000, le=384_000)]
"""Samples per second; resamplers take no ratio beyond 256."""
Position = Annotated[int, Meta(ge=0, le=1 << 53)]
"""A sample's number: at another rate it still fits 64 bits."""
Count = Annotated[int, Meta(ge=0, le=1 << 62)]
"""Of messages or nanoseconds: the difference of two still fits msgpack's 64 bits."""

WIRE_VERSION = 1
"""Raised when a field is retyped or removed, which the style of this project forbids."""


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """Who said it and when. A frame of its own, so that a relay never re-encodes a body.

    `at_ns` is CLOCK_MONOTONIC of the one box the fleet runs on. `seq` counts per (source, topic)
    from 0; `inc` is the incarnation of the source (wall clock ns at its start), so a restart is
    told from a gap.
    """

    source: str
    inc: Count
    seq: Count
    at_ns: Count
    v: int = WIRE_VERSION


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """A past fact or an order. `call` is a ULID ("" for the fleet), `turn` 0 when bound to none."""

    call: str = ""
    turn: int = 0


class Report(Event, frozen=True, kw_only=True):
    """About a turn, not part of it: passes the fence even when that turn is cancelled."""


class Audio(Event, frozen=True, kw_only=True):
    """An event that carries sound: mono signed 16-bit little-endian PCM, a raw frame of its own.

    `first` numbers the first sample of `pcm` in its stream, at `rate` Hz.
    """

    first: Position = 0
    rate: Rate = 16_000
    pcm: bytes = b""

    @property
    def samples(self) -> int:
        """How many samples `pcm` holds."""
        return len(self.pcm) // 2

    @property
    def end(self) -> int:
        """The number of the sample after the last one."""
        return self.first + len(self.pcm) // 2
