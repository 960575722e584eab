"""A call: how a line opens and closes one, and what the fleet hears of it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from schemas.event import Count, Event, Rate, Report

Channels = Annotated[int, Meta(ge=1, le=8)]
"""A session of the recogniser each."""


class OpenCall(Event, frozen=True, tag="call.open"):
    """A line asks turn_manager's door for a call. Rates in Hz; `line` names the asker.

    `call` may carry a ULID of the line's own choice; empty lets turn_manager choose. `attended`: a
    person is there, who may be asked whether he still is; a line that plays a recording says false.
    """

    line: str
    caller_rate: Rate = 16_000
    agent_rate: Rate = 16_000
    channels: Channels = 1
    attended: bool = True


class CloseCall(Event, frozen=True, tag="call.close"):
    """A line asks turn_manager's door to end its call."""

    reason: str = "hangup"


class CancelCall(Report, frozen=True, tag="call.cancel"):
    """Anyone asks turn_manager's door to cancel the turn in progress of `call`."""

    reason: str = "operator"


class CallOpened(Event, frozen=True, tag="call.opened"):
    """The call has begun; the reply to OpenCall and an event for all.

    `turn_base`: turn ids of this call are larger. `wall_ns`: wall clock at the opening.
    """

    line: str
    caller_rate: Rate = 16_000
    agent_rate: Rate = 16_000
    channels: Channels = 1
    turn_base: Count = 0
    wall_ns: Count = 0
    attended: bool = True


class CallClosed(Event, frozen=True, tag="call.closed"):
    """The call is over; every actor drops what it holds for it."""

    reason: str
