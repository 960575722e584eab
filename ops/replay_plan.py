"""The messages of a trace go in; what turn_manager was told, in its order, and what it said come out."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bus.control import MANAGER
from bus.errors import BargeinError
from bus.recording import Record
from bus.wire import pack
from schemas import (
    Acked,
    ActorBack,
    CallClosed,
    CallOpened,
    Cancel,
    CancelCall,
    CancelStuck,
    RollCall,
    Stamp,
    Steps,
    TurnCancelled,
    TurnTick,
)

OWN_INPUTS = (CallOpened, CallClosed, CancelCall, ActorBack, TurnTick)
"""What turn_manager says and then takes as an input, in the order of the bus."""


OF_A_ROUND = (Acked, CancelStuck, TurnCancelled)


class NotReplayable(BargeinError):
    """The trace lacks something a replay needs; the message says what."""

    exit_code = 65


@dataclass(frozen=True)
class Input:
    """One step: what was decided on, and when by turn_manager's clock (monotonic ns)."""

    at_ns: int
    frames: list[bytes]
    tick: bool = False


@dataclass
class PastRound:
    """One recorded CANCEL and its acknowledgements, in the order in which they came."""

    sent_ns: int
    acks: list[Acked] = field(default_factory=list)
    absent: frozenset[str] = frozenset()
    ended: bool = False


@dataclass
class Plan:
    """One call as turn_manager lived it. `unread`: messages it said after the last known step.

    `broken`: the turns of rounds in the middle of which the trace ends.
    """

    call: str
    inc: int
    inputs: list[Input]
    rounds: dict[int, deque[PastRound]]
    said: list[Record]
    unread: int = 0
    broken: frozenset[int] = frozenset()


def calls(records: Iterable[Record]) -> list[str]:
    """The calls of a trace, in order of appearance; a roll call names an actor instead."""
    events = [r.event for r in records if r.event and not isinstance(r.event, RollCall)]
    return list(dict.fromkeys(event.call for event in events if event.call))


def plan(records: Sequence[Record], call: str) -> Plan:
    """Raises NotReplayable."""
    mine = [r for r in records if r.event is not None and r.event.call == call]
    opened = next((r.stamp for r in mine if isinstance(r.event, CallOpened)), None)
    if opened is None:
        raise NotReplayable(
            f"call {call}: the trace begins after the call did; begin to record before the call"
        )
    said = [r for r in mine if r.stamp and (r.stamp.source, r.stamp.inc) == (MANAGER, opened.inc)]
    inputs = _inputs(mine, said, call)
    rounds = _rounds(said)
    known = [r for r in said if not isinstance(r.event, OWN_INPUTS)]
    covered = [r for r in known if _covered(r, inputs, rounds)]
    unread = len(known) - len(covered)
    closed = any(isinstance(record.event, CallClosed) for record in mine)
    broken = frozenset() if closed else _broken(rounds)
    compared = [
        r
        for r in covered
        if r.event and not (isinstance(r.event, OF_A_ROUND) and r.event.turn in broken)
    ]
    return Plan(call, opened.inc, inputs, rounds, compared, unread, broken)


def _broken(rounds: dict[int, deque[PastRound]]) -> frozenset[int]:
    return frozenset(turn for turn, all_ in rounds.items() if any(not r.ended for r in all_))


def _inputs(mine: Sequence[Record], said: Sequence[Record], call: str) -> list[Input]:
    """The steps in their order, each with the frames it was about."""
    heard: dict[tuple[str, str, int], deque[list[bytes]]] = defaultdict(deque)
    for record in mine:
        if record.stamp is not None:
            kind = record.frames[0].partition(b"\0")[0].decode()
            heard[record.stamp.source, kind, record.stamp.seq].append(record.frames)
    tick = str(TurnTick.__struct_config__.tag)
    inputs = []
    for record in said:
        for source, kind, seq, at_ns in (
            record.event.steps if isinstance(record.event, Steps) else ()
        ):
            if kind == tick:
                stamp = Stamp(source=source, inc=0, seq=seq, at_ns=at_ns)
                inputs.append(Input(at_ns, pack(TurnTick(call=call), stamp), tick=True))
            elif frames := heard[source, kind, seq]:
                inputs.append(Input(at_ns, frames.popleft()))
            else:
                raise NotReplayable(
                    f"call {call}: {kind} number {seq} of {source} is missing in the trace: the "
                    "recorder has lost it; record again on a less busy box"
                )
    if not inputs:
        raise NotReplayable(f"call {call}: the trace holds no step of turn_manager; record longer")
    return inputs


def _rounds(said: Sequence[Record]) -> dict[int, deque[PastRound]]:
    rounds: dict[int, deque[PastRound]] = defaultdict(deque)
    for record in sorted(said, key=lambda record: not isinstance(record.event, Cancel)):
        match record.event:
            case Cancel() as order:
                rounds[order.turn].append(PastRound(order.sent_ns))
            case Acked() as ack if past := _of(rounds[ack.turn], ack.received_ns):
                past.acks.append(ack)
            case TurnCancelled() as table if past := _of(rounds[table.turn], table.sent_ns):
                past.absent = frozenset(row.actor for row in table.rows if row.verdict == "absent")
                past.ended = True
    return rounds


def _of(rounds: Iterable[PastRound], at_ns: int) -> PastRound | None:
    """The last one begun before."""
    return next((past for past in reversed([*rounds]) if past.sent_ns <= at_ns), None)


def _covered(record: Record, inputs: Sequence[Input], rounds: dict[int, deque[PastRound]]) -> bool:
    """What was said because of a step that is known; the trace may end before its steps."""
    last_ns = inputs[-1].at_ns
    assert record.stamp is not None
    at_ns = record.stamp.at_ns
    if isinstance(record.event, OF_A_ROUND):
        past = _of(rounds.get(record.event.turn, ()), at_ns)
        return past is not None and past.sent_ns <= last_ns
    return at_ns <= last_ns
