"""A turn and its end; CANCEL, its acknowledgements, its table."""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.event import Event, Report

Stopped = dict[str, int | float | str]
"""What a cancel stopped, by name with its unit: unplayed_ms, tokens_generated, events_dropped …"""


class TurnStarted(Event, frozen=True, tag="turn.started"):
    """A turn has begun: `text` is what the caller said, samples [start, end) of 16 kHz."""

    text: str
    start: int
    end: int


class TurnEnded(Report, frozen=True, tag="turn.ended"):
    """The turn is over. `heard` is what the caller heard of the answer, cut at the word."""

    outcome: Literal["completed", "interrupted", "failed", "superseded"]
    asked: str
    heard: str
    answer: str
    detail: str = ""


class Duck(Report, frozen=True, tag="turn.duck"):
    """turn_manager orders the voice of `turn` attenuated."""


class Hold(Report, frozen=True, tag="turn.hold"):
    """turn_manager orders the voice of `turn` to pause where it is, until `turn.restore` or CANCEL."""


class Restore(Report, frozen=True, tag="turn.restore"):
    """turn_manager orders the voice of `turn` back: the onset was not meant."""

    reason: str


class Cancel(Event, frozen=True, tag="CANCEL"):
    """Stop everything of `call` that belongs to `turn` or an earlier one. Control lane, broadcast."""

    reason: str = ""
    sent_ns: int = 0


class Acked(Report, frozen=True, tag="cancel.acked"):
    """One actor's answer to CANCEL. Sent to turn_manager's door and repeated on the events lane.

    `fenced`: behind this nothing of the turn leaves the actor. `released`: the work has really
    ended, `released_us` microseconds after the CANCEL was dequeued. Both may come in one message.
    `received_ns` is filled in by turn_manager.
    """

    actor: str
    inc: int
    fenced: bool
    released: bool
    fenced_us: float = 0.0
    released_us: float = 0.0
    stopped: Stopped = {}
    error: str = ""
    received_ns: int = 0


class RoundRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the CANCEL table; milliseconds since the broadcast, None when it never came."""

    actor: str
    verdict: Literal["released", "absent", "stuck", "error"]
    fenced_ms: float | None = None
    released_ms: float | None = None
    stopped: Stopped = {}
    error: str = ""


class CancelStuck(Report, frozen=True, tag="cancel.stuck"):
    """`actor` did not answer a CANCEL in time; the warden kills it and supervisord restarts it."""

    actor: str
    phase: Literal["fenced", "released"]
    waited_ms: float


class TurnCancelled(Report, frozen=True, tag="turn.cancelled"):
    """A round has ended: the table, and how long it took until all were fenced (ms)."""

    reason: str
    sent_ns: int
    rows: tuple[RoundRow, ...]
    all_fenced_ms: float | None = None
    took_ms: float = 0.0


class TurnTick(Report, frozen=True, tag="turn.tick"):
    """A deadline of turn_manager's rules has passed. It tells itself; a replay publishes it."""


class ActorBack(Report, frozen=True, tag="actor.back"):
    """turn_manager has seen `actor` ready again, in a new incarnation, during `call`."""

    actor: str


class Steps(Report, frozen=True, tag="turn.steps"):
    """The order in which turn_manager took its inputs: what makes a recorded call replay exactly.

    Each entry: source, topic kind, sequence number, and the clock (monotonic ns) it was decided at.
    """

    steps: tuple[tuple[str, str, int, int], ...]
