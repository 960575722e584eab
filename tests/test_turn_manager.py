"""turn_manager on in-proc sockets: its door, a conversation, CANCEL, and the steps a replay needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from actors.turn_manager import STEPS_AT_ONCE, TurnManager
from bus.ask import ask
from bus.clock import Clock, ReplayClock
from bus.control import MANAGER
from bus.link import Link
from bus.rounds import Budget
from bus.runtime import Runtime
from bus.sections import Fleet, Phrases, Turns, Watch
from bus.settings import Settings
from bus.stamps import Stamper
from schemas import (
    CallClosed,
    CallOpened,
    CancelCall,
    CloseCall,
    Done,
    Drain,
    Event,
    LineLost,
    LinePlayed,
    OpenCall,
    Refused,
    Respond,
    Sentence,
    Steps,
    TurnCancelled,
    TurnEnded,
    TurnStarted,
)
from soak.artificial import Chatty
from tests.rig import Context, Rig, ended, until
from tests.talk import CALL, ends, fin, goes, on, part, played, says

HEARS: tuple[type[Event], ...] = (
    *(CallOpened, CallClosed, TurnStarted, TurnEnded, TurnCancelled),
    *(Respond, Sentence, Steps),
)
QUESTION = (on(0), ends(0, 400), fin(0, "how late is it"))
MS = 1_000_000


class Room(Rig):
    """The line and everybody else; turn_manager's place is taken by the real one."""

    async def open(self, *hears: type[Event], budget: Budget | None = None) -> None:
        self.broker.start()
        self.link = Link(self.context, self.where, Stamper("line", 1), self.clock)
        await self.link.listen(hears, self._take)

    async def close(self) -> None:
        self.link.close()

    async def ask(self, request: Event) -> Event:
        """At turn_manager's door."""
        loop = asyncio.get_running_loop()
        asked = (self.where, MANAGER, request, 5.0, self.context)
        return await loop.run_in_executor(None, ask, *asked)


@asynccontextmanager
async def managed(
    turns: Turns,
    roster: tuple[str, ...] = (MANAGER, "llm"),
    clock: Clock | None = None,
    watch: Watch = Watch(),  # noqa: B008 - frozen
    phrases: Phrases = Phrases(),  # noqa: B008 - frozen
) -> AsyncIterator[tuple[Room, TurnManager]]:
    """turn_manager and a model that talks without end; with a clock of ours, no alarm rings."""
    context: Context = Context()
    room = Room(context, roster)
    await room.open(*HEARS)
    settings = Settings(
        home=Path("/nonexistent"),
        fleet=Fleet(roster=roster),
        turns=turns,
        watch=watch,
        phrases=phrases,
    )
    manager = TurnManager(context, room.where, settings, ticks=clock is None)
    try:
        async with (
            asyncio.timeout(40),
            Runtime(manager, context, room.where, clock=clock),
            Runtime(Chatty("llm"), context, room.where),
        ):
            yield room, manager
    finally:
        await room.close()
        await ended(context)
        room.broker.join()


@asynccontextmanager
async def called(
    turns: Turns | None = None, clock: Clock | None = None
) -> AsyncIterator[tuple[Room, TurnManager]]:
    """The same, with a call open. Questions are answered as soon as their words are there."""
    async with managed(turns or Turns(endpoint_ms=50, endpointing="fixed"), clock=clock) as (
        room,
        manager,
    ):
        await until(lambda: not manager.not_ready())
        assert isinstance(await room.ask(OpenCall(call=CALL, line="test")), CallOpened)
        await room.heard(CallOpened)
        yield room, manager


async def test_no_call_before_everyone_is_ready() -> None:
    async with managed(Turns(), roster=(MANAGER, "llm", "tts")) as (room, manager):
        await until(lambda: manager.not_ready() == ["tts"])
        refused = await room.ask(OpenCall(line="test"))
        assert isinstance(refused, Refused)
        assert (refused.status, refused.why) == (503, "not ready: waiting for tts")
        async with Runtime(Chatty("tts"), room.context, room.where):
            await until(lambda: not manager.not_ready())
            opened = await room.ask(OpenCall(line="test", caller_rate=8000))
            assert isinstance(opened, CallOpened)
            assert (len(opened.call), opened.caller_rate) == (26, 8000)
            assert opened.turn_base > 1_700_000_000_000
            assert (await room.heard(CallOpened)) == opened


async def test_an_actor_that_does_not_stay_ready_is_missed() -> None:
    async with managed(Turns()) as (room, manager):
        await until(lambda: not manager.not_ready())
        loop = asyncio.get_running_loop()
        drained = (room.where, "llm", Drain(), 5.0, room.context)
        assert isinstance(await loop.run_in_executor(None, ask, *drained), Done)
        await until(lambda: manager.not_ready() == ["llm"])


async def test_the_door_says_no_with_a_reason() -> None:
    async with called() as (room, _):
        for request, status, word in (
            (OpenCall(call=CALL, line="test"), 409, "open already"),
            (OpenCall(line="test", channels=99), 400, "channels"),
            (CancelCall(call="nobody"), 404, CALL),
            (CloseCall(call="nobody"), 404, CALL),
            (LinePlayed(call=CALL, samples=1, rate=8000), 404, "LinePlayed"),
        ):
            refused = await room.ask(request)
            assert isinstance(refused, Refused)
            assert refused.status == status
            assert word in refused.why


async def test_a_conversation_with_an_interruption() -> None:
    async with called() as (room, _):
        room.publish(*QUESTION)
        first = await room.heard(TurnStarted)
        assert first.text == "how late is it"
        order = await room.heard(Respond)
        assert order.turn == first.turn
        assert [message.role for message in order.messages] == ["system", "user"]
        await room.heard(Sentence, turn=first.turn)  # llm is at work on it
        room.publish(*says(first.turn, "it is ten past two"))
        room.publish(played(first.turn, 260))
        room.publish(on(2000), goes(2000, 1500))
        table = await room.heard(TurnCancelled)
        assert (table.turn, table.reason) == (first.turn, "barge-in: voice")
        assert {row.actor: row.verdict for row in table.rows} == dict.fromkeys(
            (MANAGER, "llm"), "released"
        )
        assert table.rows[1].stopped["events"] != 0
        room.publish(played(first.turn, 260, ended=True))
        ended = await room.heard(TurnEnded)
        assert (ended.outcome, ended.heard) == ("interrupted", "it is ten")
        room.publish(ends(2000, 1500), fin(2000, "and in tokyo"))
        second = await room.heard(TurnStarted, 2)
        assert (second.turn, second.text) == (first.turn + 1, "and in tokyo")
        said = [message.content for message in (await room.heard(Respond, 2)).messages[1:]]
        assert said == [
            "how late is it",
            "it is ten [interrupted by the caller]",
            "and in tokyo",
        ]


async def test_an_operator_cancels_at_the_door() -> None:
    async with called() as (room, _):
        room.publish(*QUESTION)
        await room.heard(Respond)
        assert isinstance(await room.ask(CancelCall(call=CALL, reason="enough")), Done)
        assert (await room.heard(TurnCancelled)).reason == "enough"
        assert (await room.heard(TurnEnded)).outcome in ("interrupted", "superseded")


async def test_a_round_in_mid_turn_does_not_cancel_the_step_that_ordered_it() -> None:
    """A sentence of the turn is what tells the time; its own CANCEL must not swallow the rest."""
    clock = ReplayClock(MS)
    async with called(Turns(endpoint_ms=50, endpointing="fixed", answer_wait_ms=100), clock) as (
        room,
        _,
    ):
        room.publish(*QUESTION)
        turn = (await room.heard(Respond)).turn
        clock.set(clock.now() + 200 * MS)
        room.publish(Sentence(call=CALL, turn=turn, index=0, text="at last"))
        assert (await room.heard(TurnCancelled)).turn == turn
        ended = await room.heard(TurnEnded)
        assert (ended.outcome, ended.detail) == ("failed", "no sound for 100 ms")


async def test_an_alarm_rings_when_the_final_words_never_come() -> None:
    async with called(Turns(endpoint_ms=50, endpointing="fixed", final_wait_ms=60)) as (room, _):
        room.publish(on(0), ends(0, 400))
        room.publish(on(1000), fin(1000, "hello"), ends(1000, 400))
        assert (await room.heard(TurnStarted)).text == "hello"


async def test_a_greeting_is_said_first() -> None:
    async with called(Turns(greeting="Good morning.")) as (room, _):
        assert (await room.heard(Respond)).say == "Good morning."


async def test_a_notice_comes_before_the_greeting_between_its_marks() -> None:
    async with called(Turns(greeting="Good morning.", notice="We listen.")) as (room, _):
        assert (await room.heard(Respond)).say == "<notice>We listen.</notice> Good morning."


async def test_an_idle_call_is_closed_one_without_a_person_is_not() -> None:
    """Calls are opened in this order, so the recording's would have been closed first."""
    watch, phrases = Watch(idle_s=0.05, idle_prompts=0), Phrases(goodbye="")
    async with managed(Turns(), watch=watch, phrases=phrases) as (room, manager):
        await until(lambda: not manager.not_ready())
        await room.ask(OpenCall(call="recording", line="test", attended=False))
        await room.ask(OpenCall(call="person", line="test"))
        closed = await room.heard(CallClosed)
        assert (closed.call, closed.reason) == ("person", "the caller was idle")
        await until(lambda: manager.gauges()["active_calls"] == 1)


async def test_what_a_watchdog_ended_is_counted() -> None:
    """An ear that died in mid-word."""
    clock = ReplayClock(MS)
    async with called(clock=clock) as (room, manager):
        room.publish(on(0), *[part(0, "") for _ in range(STEPS_AT_ONCE)])
        await room.heard(Steps)  # they have been taken
        clock.set(clock.now() + 3000 * MS)
        room.publish(LinePlayed(call=CALL, turn=1, samples=1, rate=8000))
        await until(lambda: manager.gauges()["watchdog_no_end"] == 1)
        assert {name: n for name, n in manager.gauges().items() if n} == {
            "active_calls": 1,
            "watchdog_no_end": 1,
        }


async def test_a_lost_line_and_a_goodbye_close_the_call() -> None:
    async with called() as (room, manager):
        room.publish(*QUESTION)
        await room.heard(Respond)
        room.publish(LineLost(call=CALL, silent_ms=5000))
        assert (await room.heard(CallClosed)).reason == "line lost"
        assert (await room.heard(TurnEnded)).detail == "call closed: line lost"
        await until(lambda: manager.gauges()["active_calls"] == 0)
        again = await room.ask(OpenCall(call="C2", line="test"))
        assert isinstance(again, CallOpened)
        assert isinstance(await room.ask(CloseCall(call="C2")), Done)
        assert (await room.heard(CallClosed, 2)).call == "C2"
        await until(lambda: manager.gauges()["active_calls"] == 0)


async def test_a_call_that_was_forgotten_is_closed_for_the_others_when_its_line_is_lost() -> None:
    """turn_manager was killed while the disk took no notebook: the others have the call still."""
    async with called() as (room, _):
        room.publish(LineLost(call="C0", silent_ms=5000))
        assert (await room.heard(CallClosed)).call == "C0"


def taken(room: Room) -> list[tuple[str, str, int, int]]:
    """The steps told so far."""
    return [step for event in room.past(Steps) for step in event.steps]


async def test_every_input_is_noted_in_the_order_it_was_taken() -> None:
    async with called() as (room, manager):
        room.publish(*QUESTION)
        await room.heard(Respond)
        await room.ask(CloseCall(call=CALL))
        await until(lambda: manager.gauges()["active_calls"] == 0)
        await until(lambda: any("call.closed" in step for step in taken(room)))
        steps = taken(room)
        kinds = [kind for _, kind, _, _ in steps if kind != "turn.tick"]
        said = [kind for kind in kinds if kind not in ("llm.sentence", "turn.tick")]
        assert said == ["call.opened", "speech.started", "speech.ended", "stt.final", "call.closed"]
        assert [at_ns for *_, at_ns in steps] == sorted(at_ns for *_, at_ns in steps)
        assert {source for source, kind, _, _ in steps if kind == "stt.final"} == {"line"}
