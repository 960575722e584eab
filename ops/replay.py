"""A recorded call goes in, turn_manager lives it once more, what it says this time comes out.

Its inputs come in the recorded order at the recorded clock, and the acknowledgements of each CANCEL
when they came then: the same code with the same settings says the same, byte for byte.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from actors.turn_manager import TurnManager
from bus.clock import ReplayClock
from bus.control import MANAGER
from bus.recording import Record
from bus.rounds import Rounds
from bus.runtime import Runtime
from bus.settings import Settings
from bus.sockets import Frames
from ops.replay_loop import replay_loop
from ops.replay_plan import OF_A_ROUND, OWN_INPUTS, PastRound, Plan
from ops.replay_stage import NEVER_MS, ReplayFailed, Stage
from schemas import Acked, Cancel


class ReplayedRounds(Rounds):
    """The doors are as recorded: nobody was behind those of `absent`."""

    absent: frozenset[str] = frozenset()

    def knock(self, actor: str, frames: Frames) -> bool:
        return actor not in self.absent

    def together(self, call: str, acks: int) -> None:
        """Each ack is taken up at its own recorded time."""


class ReplayedManager(TurnManager):
    """The real one, which also tells how many acknowledgements it has taken."""

    rounds_class = ReplayedRounds
    acks_taken = 0
    attached: Callable[[], None] = staticmethod(lambda: None)

    def attach(self, runtime: Runtime) -> None:
        super().attach(runtime)
        self.attached()

    def hang_up(self, call: str, reason: str) -> None:
        """The recording closes the call, when it was closed."""

    def acknowledged(self, acks: Sequence[Acked]) -> None:
        super().acknowledged(acks)
        self.acks_taken += len(acks)


class ManagerReplay:
    """Plays everybody else. `exact`: the recorded ticks are played; else time passes by itself."""

    def __init__(self, plan: Plan, settings: Settings, exact: bool) -> None:
        self._plan, self._settings, self._exact = plan, settings, exact
        self._rounds: dict[int, deque[PastRound]] = {
            turn: deque(rounds) for turn, rounds in plan.rounds.items()
        }
        self._clock = ReplayClock(plan.inputs[0].at_ns)
        self._acks: list[tuple[int, int, Acked]] = []
        self._order = itertools.count()
        self._played = 0
        self._looked = 0

    async def run(self) -> list[Record]:
        """What turn_manager says of this call."""
        async with Stage(replay_loop(), self._clock, MANAGER) as stage:
            await self._on(stage)
        return stage.said

    async def _on(self, stage: Stage) -> None:
        self._stage = stage
        self._manager = ReplayedManager(
            stage.context, stage.law, self._settings, ticks=not self._exact
        )
        self._manager.attached = stage.call_roll
        stage.expect(self._manager)
        runtime = Runtime(
            self._manager,
            stage.context,
            stage.where,
            clock=self._clock,
            inc=self._plan.inc,
            heartbeat_ms=NEVER_MS,
        )
        async with runtime:
            stage.runtime = runtime
            await stage.settle()
            stage.said.clear()
            await self._live()

    async def _live(self) -> None:
        for step in self._plan.inputs:
            if step.tick and not self._exact:
                continue
            while await self._next(step.at_ns):
                pass
            self._clock.set(step.at_ns)
            await self._stage.feed("events", step.frames)
            await self._fence()
        while self._unfinished() and await self._next():
            pass

    async def _fence(self) -> None:
        """A step that cancels ends when all are fenced, and nothing else is taken up before."""
        self._look()
        while any(not round_.all_fenced.true for round_ in self._under_way()):
            if not await self._next():
                raise ReplayFailed(f"the CANCEL round at {self._clock.now()} ns never ends")

    def _under_way(self) -> frozenset[Any]:
        assert self._manager.rounds is not None
        return self._manager.rounds.under_way

    def _unfinished(self) -> bool:
        """The trace may have ended before a round did; then that round stays open here too."""
        ended = any(
            not self._exact or self._recorded_end(round_.order) for round_ in self._under_way()
        )
        return bool(self._acks) or ended

    def _recorded_end(self, order: Cancel) -> bool:
        return any(
            past.ended and past.sent_ns == order.sent_ns
            for past in self._plan.rounds.get(order.turn, ())
        )

    async def _next(self, until_ns: int | None = None) -> bool:
        """The next acknowledgement or deadline, unless it is after `until_ns`; whether there was one."""
        due_ns = self._clock.next_due_ns
        ack_ns = self._acks[0][0] if self._acks else None
        moments = [at_ns for at_ns in (due_ns, ack_ns) if at_ns is not None]
        if not moments or (until_ns is not None and min(moments) > until_ns):
            return False
        if ack_ns is None or (due_ns is not None and due_ns < ack_ns):
            self._clock.set(min(moments))
            await self._stage.settle()
        else:
            await self._acknowledge()
        self._look()
        return True

    async def _acknowledge(self) -> None:
        received_ns, _, ack = heapq.heappop(self._acks)
        self._clock.set(received_ns)
        self._stage.knock(ack)
        self._played += 1
        await self._stage.settle(lambda: self._manager.acks_taken == self._played)

    def _look(self) -> None:
        """For each CANCEL that was said: when will whom acknowledge it?"""
        new = self._stage.said[self._looked :]
        self._looked = len(self._stage.said)
        for record in new:
            if isinstance(record.event, Cancel):
                self._expect(record.event)

    def _expect(self, order: Cancel) -> None:
        """As recorded, counted from the broadcast; a CANCEL that was not recorded, all at once."""
        past = self._rounds.get(order.turn, deque())
        recorded = past.popleft() if past else None
        assert isinstance(self._manager.rounds, ReplayedRounds)
        self._manager.rounds.absent = recorded.absent if recorded else frozenset()
        if recorded is None:
            acks = [(order.sent_ns, _promptly(order, actor)) for actor in self._roster]
        else:
            shift_ns = order.sent_ns - recorded.sent_ns
            acks = [(ack.received_ns + shift_ns, ack) for ack in recorded.acks]
        if order.turn in self._plan.broken:
            known = {ack.actor for _, ack in acks if ack.fenced}
            acks += [
                (order.sent_ns, _promptly(order, actor))
                for actor in self._roster
                if actor not in known
            ]
        for at_ns, ack in acks:
            heapq.heappush(self._acks, (at_ns, next(self._order), ack))

    @property
    def _roster(self) -> tuple[str, ...]:
        return self._settings.fleet.roster


def _promptly(order: Cancel, actor: str) -> Acked:
    return Acked(call=order.call, turn=order.turn, actor=actor, inc=0, fenced=True, released=True)


def outputs(records: Iterable[Record], plan: Plan) -> list[Record]:
    """What turn_manager said of the call, less what it was told in its own name.

    Where the recording ends in the middle of a round, the rest of that round is anybody's guess.
    """
    return [
        r
        for r in records
        if r.event is not None
        and r.event.call == plan.call
        and r.stamp is not None
        and r.stamp.source == MANAGER
        and not isinstance(r.event, OWN_INPUTS)
        and not (isinstance(r.event, OF_A_ROUND) and r.event.turn in plan.broken)
    ]
