"""The law of CANCEL over ipc: each round ends, nothing stale comes out, no fault outlives its round."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import zmq

from bus.broker import Broker
from bus.endpoints import Endpoints
from bus.rounds import Budget
from bus.runtime import Emit, Runtime
from schemas import CallOpened, Event, Respond, Sentence, TurnCancelled
from soak import cancels
from soak.cancel_figures import HERE, ROSTER, Figures
from tests.rig import Rig, ended, rig

CANCELS = int(os.environ.get("BARGEIN_CANCELS", "100"))
CALL = "C1"


async def test_cancels_at_random_phases_against_actors_that_fail() -> None:
    """BARGEIN_CANCELS=2000 for the whole of it; `python -m soak.cancels` prints the figures."""
    figures = await cancels.run(CANCELS, seed=1)
    assert figures.breaches == []
    assert figures.stale == 0
    assert figures.held_back > CANCELS, "nothing stale was even tried"
    assert figures.rounds >= CANCELS
    for name in HERE:  # all of them on an idle box; a busy one may be late
        assert figures.verdicts[name]["released"] > 0.9 * figures.rounds
    for name in ROSTER:
        assert set(figures.verdicts[name]) <= {"released", "absent", "stuck", "error"}
        assert figures.verdicts[name]["released"] > 0
    assert figures.verdicts["wedger"]["stuck"] > 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a socket's has 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="lx", dir="/tmp"))
    yield made
    shutil.rmtree(made)


class Patient:
    """Works on each order until it is cancelled; a step of it once a loop."""

    hears: tuple[type[Event], ...] = (Respond,)

    def __init__(self, name: str = "llm") -> None:
        self.name = name
        self.begun = asyncio.Event()
        self.turns: list[tuple[str, int]] = []

    async def load(self) -> None: ...

    async def close(self) -> None: ...

    async def react(self, event: Event, emit: Emit) -> None:
        self.turns.append((event.call, event.turn))
        self.begun.set()
        emit(Sentence(call=event.call, turn=event.turn, index=0, text="first"))
        await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def managed(folder: Path, *roster: str) -> AsyncIterator[cancels.Manager]:
    """turn_manager's side over ipc with this roster, and one actor, `llm`, that is there."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    where = Endpoints(folder)
    broker = Broker(context, where)
    broker.start()
    manager = cancels.Manager(context, where, cancels.Watch(Figures()), roster)
    try:
        await manager.open()
        async with Runtime(Patient(), context, where):
            yield manager
    finally:
        await manager.close()
        await ended(context)
        broker.join()


def verdicts(table: TurnCancelled) -> dict[str, str]:
    return {row.actor: row.verdict for row in table.rows}


async def test_a_leg_that_raises_is_named_and_the_next_round_works(folder: Path) -> None:
    async with asyncio.timeout(40), managed(folder, "llm", "ghost") as manager:
        manager.rounds._direct["ghost"].close()  # as if libzmq had failed on it
        for turn in (1, 2):
            await manager.cancel(CALL, turn)
            table = await manager.tables.get()
            assert verdicts(table) == {"llm": "released", "ghost": "error"}
            assert "ZMQError" in table.rows[1].error


async def test_cancellation_from_outside_is_re_raised_and_leaves_no_lock(folder: Path) -> None:
    async with asyncio.timeout(40), managed(folder, "llm", "ghost") as manager:
        task = asyncio.get_running_loop().create_task(manager.cancel(CALL, 1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await manager.cancel(CALL, 2)
        assert verdicts(await manager.tables.get()) == {"llm": "released", "ghost": "absent"}


async def test_a_round_that_waited_for_another_does_not_call_everyone_stuck(folder: Path) -> None:
    """Decided while the first still waited for its fences: its budget runs from its own broadcast."""
    async with asyncio.timeout(40), managed(folder, "llm") as manager:
        long_ago = manager.clock.now() - int(10 * Budget().release_ms * 1e6)
        await manager.rounds.cancel(CALL, 1, "decided long ago", long_ago)
        assert verdicts(await manager.tables.get()) == {"llm": "released"}


async def test_the_same_turn_cancelled_twice_gives_two_whole_tables(folder: Path) -> None:
    async with asyncio.timeout(40), managed(folder, "llm") as manager:
        await asyncio.gather(manager.cancel(CALL, 1), manager.cancel(CALL, 1))
        for _ in range(2):
            assert verdicts(await manager.tables.get()) == {"llm": "released"}


async def test_one_call_s_cancel_leaves_the_other_s_work_alone() -> None:
    actor = Patient()
    room = rig(Sentence, roster=("llm",))
    async with asyncio.timeout(40), room as agent, agent.running(actor) as runtime:
        for call in ("C1", "C10"):
            agent.publish(Respond(call=call, turn=5, messages=()))
        await agent.heard(Sentence, 2)
        await agent.cancel("C1", 5)
        assert runtime.desk.busy == {("C10", 5)}
        agent.publish(Respond(call="C10", turn=6, messages=()))
        await agent.heard(Sentence, call="C10", turn=6)


class Loading(Patient):
    """Its engine takes as long to load as the test wants."""

    hears = (Respond, CallOpened)

    def __init__(self) -> None:
        super().__init__()
        self.loading, self.gate, self.done = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.told: list[str] = []

    async def load(self) -> None:
        self.loading.set()
        await self.gate.wait()

    async def react(self, event: Event, emit: Emit) -> None:
        if isinstance(event, CallOpened):
            self.told.append(event.call)
        else:
            await super().react(event, emit)

    async def run(self, agent: Rig) -> None:
        async with agent.running(self):
            await self.done.wait()


async def test_nothing_is_begun_before_the_fence_was_taken_over() -> None:
    """A restarted actor hears late orders of turns that were cancelled, and learns of open calls."""
    actor = Loading()
    async with asyncio.timeout(40), rig(Sentence, roster=("llm",)) as agent:
        agent.fences = {CALL: 6}
        agent.calls = (CallOpened(call=CALL, line="test"), CallOpened(call="C2", line="test"))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(actor.run(agent))
            await actor.loading.wait()
            agent.publish(CallOpened(call="C2", line="test"))
            agent.publish(*(Respond(call=CALL, turn=turn, messages=()) for turn in (6, 7, 8)))
            assert verdicts(await agent.cancel(CALL, 7)) == {"llm": "released"}
            assert actor.turns == []
            actor.gate.set()
            await agent.heard(Sentence, turn=8)
            assert actor.turns == [(CALL, 8)]
            assert actor.told == [CALL, "C2"]
            actor.done.set()
