"""turn_manager's side of CANCEL: a turn to stop goes in, the table of who stopped what comes out.

The law (docs/bus.md): broadcast; collect `fenced` from everyone on the roster; after `resend_ms`
say it again through that actor's door; no connection there means `absent`, silence until
`stuck_ms` means `stuck`; then await `released`. Legs run side by side and none hides another's
error.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO, Literal

import structlog
import zmq

from bus.clock import NS_PER_MS, Clock, Fact
from bus.control import MANAGER
from bus.desk import Desk
from bus.endpoints import Endpoints, claim
from bus.sockets import Frames, Reader, make, send
from bus.stamps import Stamper
from bus.wire import pack, prefix, topic_of
from schemas import Acked, Cancel, CancelStuck, Event, RollCall, RoundRow, TurnCancelled

log = structlog.get_logger()
Publish = Callable[[Event, int], None]


@dataclass(frozen=True)
class Budget:
    """The clock of a round, ms since the decision."""

    resend_ms: float = 20
    stuck_ms: float = 250
    release_ms: float = 1000


@dataclass
class Leg:
    """What one actor has answered so far."""

    actor: str
    chased: Fact | None = None
    """Comes true with the fence; only for who did not hear the broadcast."""
    fenced_ns: int = 0
    released_ns: int = 0
    ack: Acked | None = None
    verdict: Literal["", "absent", "stuck"] = ""
    ended_ns: int = 0

    def take(self, ack: Acked) -> None:
        """Note an acknowledgement; repeated ones change nothing."""
        if ack.fenced and not self.fenced_ns:
            self.fenced_ns = ack.received_ns
            if self.chased is not None:
                self.chased.come_true()
        if ack.released and not self.released_ns:
            self.released_ns = self.ended_ns = ack.received_ns
            self.ack = ack


@dataclass(eq=False)
class Round:
    """One CANCEL under way; its budgets run from the broadcast, which may come after the decision."""

    order: Cancel
    legs: dict[str, Leg]
    began_ns: int
    all_fenced: Fact = field(default_factory=Fact)
    all_released: Fact = field(default_factory=Fact)
    unsaid: list[Acked] | None = field(default_factory=list)

    def check(self) -> None:
        """The two facts come true when nothing more is to be waited for."""
        for leg in self.legs.values():
            if not (leg.fenced_ns or leg.verdict):
                return
        self.all_fenced.come_true()
        for leg in self.legs.values():
            if not (leg.released_ns or leg.verdict):
                return
        self.all_released.come_true()

    def since_ms(self, at_ns: int) -> float:
        """Milliseconds from the decision to `at_ns`."""
        return round((at_ns - self.order.sent_ns) / NS_PER_MS, 3)

    def row(self, leg: Leg, error: str = "") -> RoundRow:
        """This actor's line of the table."""
        ack = leg.ack
        error = error or (ack.error if ack else "")
        return RoundRow(
            actor=leg.actor,
            verdict="error" if error else leg.verdict or "released",
            fenced_ms=self.since_ms(leg.fenced_ns) if leg.fenced_ns else None,
            released_ms=self.since_ms(leg.released_ns) if leg.released_ns else None,
            stopped=dict(ack.stopped) if ack else {},
            error=error,
        )

    def table(self, errors: dict[str, str]) -> TurnCancelled:
        """The event that ends the round; stamped with the moment its last leg ended."""
        rows = tuple(self.row(leg, errors.get(name, "")) for name, leg in self.legs.items())
        fenced = [row.fenced_ms for row in rows if row.fenced_ms is not None]
        return TurnCancelled(
            call=self.order.call,
            turn=self.order.turn,
            reason=self.order.reason,
            sent_ns=self.order.sent_ns,
            rows=rows,
            all_fenced_ms=max(fenced) if len(fenced) == len(rows) else None,
            took_ms=self.since_ms(self.ended_ns),
        )

    @property
    def ended_ns(self) -> int:
        return max((leg.ended_ns for leg in self.legs.values()), default=self.order.sent_ns)


class Rounds:
    """Owns the CANCEL broadcast and a direct way to every door.

    `publish(event, at_ns)` takes what the fleet shall hear: acks, stuck actors, the table.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        where: Endpoints,
        roster: Iterable[str],
        stamper: Stamper,
        clock: Clock,
        desk: Desk,
        publish: Publish,
        budget: Budget | None = None,
        expect: Callable[[str, int], None] = lambda *_: None,
    ) -> None:
        self.roster = tuple(roster)
        self._clock, self._desk, self._publish = clock, desk, publish
        self._budget = budget or Budget()
        self._expect = expect
        self._stamper = Stamper(MANAGER, stamper.inc)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._rounds: set[Round] = set()
        self._closing: set[asyncio.Task[TurnCancelled]] = set()
        self._lock: IO[str] | None = claim(where, "cancel")
        self._broadcast = make(context, zmq.XPUB)
        self._broadcast.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._broadcast.bind(where["cancel"])
        self._direct = {name: self._door(context, where, name) for name in self.roster}
        self._reader = Reader(self._broadcast, self._subscribed)

    def _door(
        self, context: zmq.Context[zmq.Socket[bytes]], where: Endpoints, name: str
    ) -> zmq.Socket[bytes]:
        socket = make(context, zmq.DEALER)
        socket.setsockopt(zmq.ROUTING_ID, b"cancel-round")
        socket.setsockopt(zmq.IMMEDIATE, 1)  # no connection: EAGAIN, not a queue nobody reads
        socket.connect(where[f"door.{name}"])
        return socket

    def _subscribed(self, frames: Frames) -> None:
        """Somebody's control lane stands: if it is an actor's, ask for its hello."""
        mark = b"\x01" + prefix(RollCall)
        if frames[0].startswith(mark):
            actor = frames[0][len(mark) :].decode(errors="replace")
            self._send(RollCall(call=actor, inc=self._stamper.inc), self._clock.now())
            self._reader.drain()

    def _send(self, event: Event, at_ns: int) -> Frames:
        frames = pack(event, self._stamper(topic_of(event), at_ns))
        send(self._broadcast, frames)
        return frames

    async def cancel(self, call: str, turn: int, reason: str, at_ns: int) -> None:
        """Broadcast, and return when every actor is fenced, absent or stuck.

        The table follows as `turn.cancelled` once all have released. At most one round of a call
        is before its fences at any time. Cancelled from outside, it re-raises.
        """
        async with self._locks[call]:
            order = Cancel(call=call, turn=turn, reason=reason, sent_ns=at_ns)
            self._desk.raise_fence(call, turn)
            self.together(call, len(self.roster))
            frames = self._send(order, at_ns)  # as decided, so that a replay can repeat it
            legs = {name: Leg(name) for name in self.roster}
            round_ = Round(order, legs, self._clock.now())
            self._rounds.add(round_)  # acks are taken on this loop, so none is missed
            try:
                errors = await self._await_fenced(round_, frames)
            except BaseException:
                self._rounds.discard(round_)
                self._tell(round_)
                raise
        self._close_later(round_, errors)

    async def _await_fenced(self, round_: Round, frames: Frames) -> dict[str, str]:
        """The broadcast is enough for most; whoever is missing then is chased, all at once."""
        in_time = await self._in_time(round_.all_fenced, round_, self._budget.resend_ms)
        self.together(round_.order.call, 0)
        in_time = in_time or round_.all_fenced.true
        if in_time:
            return {}
        self._reader.drain()
        self._tell(round_)
        missing = [leg for leg in round_.legs.values() if not leg.fenced_ns]
        chases = [self._chase(round_, leg, frames) for leg in missing]
        errors = _errors(missing, await asyncio.gather(*chases, return_exceptions=True))
        round_.check()
        return errors

    def _close_later(self, round_: Round, errors: dict[str, str]) -> None:
        task = asyncio.get_running_loop().create_task(self._await_released(round_, errors))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _await_released(self, round_: Round, errors: dict[str, str]) -> TurnCancelled:
        self._reader.drain()  # the send may have used up the edge; not on the way to the fences
        self._tell(round_)
        try:
            await self._in_time(round_.all_released, round_, self._budget.release_ms)
            for leg in round_.legs.values():
                if not leg.verdict and not leg.released_ns:
                    self._stuck(round_, leg, "released", self._budget.release_ms)
            table = round_.table(errors)
            self._publish(table, round_.ended_ns)
            return table
        finally:
            self._rounds.discard(round_)

    async def _chase(self, round_: Round, leg: Leg, frames: Frames) -> None:
        """The broadcast was not heard: the door. No connection there: absent. No answer: stuck."""
        leg.chased = Fact()
        if not self.knock(leg.actor, frames):
            self._give_up(round_, leg, "absent", self._budget.resend_ms)
        elif not await self._in_time(leg.chased, round_, self._budget.stuck_ms):
            self._stuck(round_, leg, "fenced", self._budget.stuck_ms)

    def knock(self, actor: str, frames: Frames) -> bool:
        """Hand the CANCEL in at that actor's door; False when nobody is connected there."""
        try:
            send(self._direct[actor], [b"again", *frames])
        except zmq.Again:
            return False
        return True

    def _give_up(
        self, round_: Round, leg: Leg, verdict: Literal["absent", "stuck"], waited_ms: float
    ) -> None:
        leg.verdict = verdict
        leg.ended_ns = round_.began_ns + int(waited_ms * NS_PER_MS)
        round_.check()

    async def _in_time(self, fact: Fact, round_: Round, budget_ms: float) -> bool:
        deadline = round_.began_ns + int(budget_ms * NS_PER_MS)
        return await fact.by(deadline, self._clock)

    def _stuck(
        self, round_: Round, leg: Leg, phase: Literal["fenced", "released"], waited_ms: float
    ) -> None:
        self._give_up(round_, leg, "stuck", waited_ms)
        log.error("cancel.stuck", actor=leg.actor, phase=phase, turn_id=round_.order.turn)
        event = CancelStuck(
            call=round_.order.call,
            turn=round_.order.turn,
            actor=leg.actor,
            phase=phase,
            waited_ms=waited_ms,
        )
        self._publish(event, leg.ended_ns)

    @property
    def under_way(self) -> frozenset[Round]:
        """The rounds whose table is not told yet."""
        return frozenset(self._rounds)

    def together(self, call: str, acks: int) -> None:
        """Of so many acks of `call` the loop need hear of the last only; 0: of each, and now."""
        self._expect(call, acks)

    def acknowledged(self, acks: Sequence[Acked]) -> None:
        """These acks have arrived at the door (their `received_ns` is set).

        They are told to the fleet after the fences: seven publications on the way to them cost more
        than the fan-out itself (1.4 ms instead of 0.6).
        """
        touched: list[Round] = []
        for ack in acks:
            unsaid: list[Acked] | None = None
            for round_ in self._rounds:
                order = round_.order
                if order.call == ack.call and order.turn <= ack.turn and ack.actor in round_.legs:
                    round_.legs[ack.actor].take(ack)
                    if round_ not in touched:
                        touched.append(round_)
                    unsaid = round_.unsaid if unsaid is None else unsaid
            if unsaid is None:
                self._publish(ack, ack.received_ns)
            else:
                unsaid.append(ack)
        for round_ in touched:
            round_.check()

    def _tell(self, round_: Round) -> None:
        """The acks until now; those to come are told at once."""
        unsaid, round_.unsaid = round_.unsaid or [], None
        for ack in unsaid:
            self._publish(ack, ack.received_ns)

    def forget(self, call: str) -> None:
        """The call is over."""
        if call in self._locks and not self._locks[call].locked():
            del self._locks[call]

    async def close(self) -> None:
        """End the rounds under way and close the sockets."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        self._reader.close()
        for socket in (self._broadcast, *self._direct.values()):
            socket.close()
        if self._lock is not None:
            self._lock.close()


def _errors(legs: list[Leg], results: list[BaseException | None]) -> dict[str, str]:
    """What went wrong on which leg: reported in its row, and logged."""
    errors = {}
    for leg, result in zip(legs, results, strict=True):
        if isinstance(result, BaseException):
            log.error("leg of a cancel round failed", actor=leg.actor, error=repr(result))
            errors[leg.actor] = repr(result)
            leg.verdict = leg.verdict or "stuck"
    return errors
