"""An actor's engine is not taken away from under the work of a call that has just been closed."""

from __future__ import annotations

import asyncio

import pytest

from actors.__main__ import serve
from bus.asking import Asker
from bus.clock import MonotonicClock, ReplayClock
from bus.runtime import Emit, Runtime
from schemas import AskHealth, CallClosed, CallerPcm, Event, Health, Sentence, Stamp
from tests.rig import door_is_free, rig, until


class SlowToStop:
    """Its work ends only when it is allowed to, however often it is cancelled."""

    name = "tts"
    hears = (Sentence,)

    def __init__(self) -> None:
        self.begun, self.cancelled, self.allowed = (asyncio.Event() for _ in range(3))
        self.done: list[str] = []

    async def load(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        self.done.append("closed")

    async def react(self, event: Event, emit: Emit) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
            end = asyncio.ensure_future(self.allowed.wait())
            while not end.done():
                try:
                    await asyncio.shield(end)
                except asyncio.CancelledError:
                    continue
            self.done.append("work ended")


async def test_stop_waits_for_the_work_of_a_call_being_closed() -> None:
    async with rig() as bus:
        actor = SlowToStop()
        async with bus.running(actor):
            bus.publish(Sentence(call="C", turn=1, index=0, text="Hello."))
            await actor.begun.wait()
            bus.publish(CallClosed(call="C", reason="hangup"))
            await actor.cancelled.wait()
            asyncio.get_running_loop().call_later(0.05, actor.allowed.set)
        assert actor.done == ["work ended", "closed"]


async def test_a_cancel_while_it_stops_leaves_nothing_open() -> None:
    """The rig's context could not end otherwise."""
    async with rig() as bus:
        actor = SlowToStop()
        runtime = await Runtime(actor, bus.context, bus.where).__aenter__()
        bus.publish(Sentence(call="C", turn=1, index=0, text="Hello."))
        await actor.begun.wait()
        stopping = asyncio.create_task(runtime.stop())
        await actor.cancelled.wait()
        stopping.cancel()
        await asyncio.sleep(0)
        actor.allowed.set()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert actor.done == ["work ended", "closed"]


class Counter:
    """Notes the kinds it reacts to."""

    name = "stt"
    hears = (CallClosed, CallerPcm)

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def load(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to give back."""

    async def react(self, event: Event, emit: Emit) -> None:
        self.seen.append(f"{type(event).__name__} {event.call}")


async def test_what_waits_behind_the_end_of_a_call_opens_nothing_anew() -> None:
    """Sound and events come on two lanes: a frame may be queued behind its call's end."""
    async with asyncio.timeout(40), rig() as bus:
        actor = Counter()
        async with bus.running(actor) as runtime:
            stamp = Stamp(source="x", inc=1, seq=0, at_ns=0)
            runtime._take(CallClosed(call="C1", reason="hangup"), stamp)
            runtime._take(CallerPcm(call="C1", pcm=bytes(640)), stamp)
            runtime._take(CallerPcm(call="C2", pcm=bytes(640)), stamp)
            await until(lambda: len(actor.seen) == 2)
        assert actor.seen == ["CallClosed C1", "CallerPcm C2"]


class NoModel(Exception):
    """What its engine says when it can't be loaded."""


class Waiting:
    """Its model comes with the third look."""

    name = "stt"
    hears = (CallerPcm,)

    def __init__(self) -> None:
        self.looks, self.heard = 0, list[int]()
        self.looked = asyncio.Event()

    async def load(self) -> None:
        self.looks += 1
        self.looked.set()
        if self.looks < 3:
            raise NoModel("no model at models/x.nemo: fetch it")

    async def close(self) -> None:
        """Nothing was opened."""

    async def react(self, event: Event, emit: Emit) -> None:
        assert isinstance(event, CallerPcm)
        self.heard.append(event.first)


async def test_an_engine_that_can_not_be_loaded_is_said_at_the_door_and_tried_again() -> None:
    clock = ReplayClock(1)
    async with asyncio.timeout(40), rig() as bus:
        actor = Waiting()
        runtime = Runtime(actor, bus.context, bus.where, clock=clock, mends=NoModel)
        entering = asyncio.create_task(runtime.__aenter__())
        asker = Asker(bus.context, bus.where, "stt", MonotonicClock())
        for look, pause_s in ((1, 1), (2, 2)):
            await until(lambda look=look: actor.looks == look)  # type: ignore[misc]
            health = await asker.ask(AskHealth())
            assert isinstance(health, Health)
            assert (health.ready, health.detail) == (False, "no model at models/x.nemo: fetch it")
            bus.publish(CallerPcm(call="C", first=look, pcm=b"\0\0"))
            await until(lambda look=look: len(runtime._early or ()) == look)  # type: ignore[misc]
            clock.set(clock.now() + pause_s * 1_000_000_000)
        await entering
        await until(lambda: actor.heard == [1, 2])
        asker.close()
        await runtime.stop()


async def test_an_actor_is_stopped_while_it_waits_for_its_engine() -> None:
    async with asyncio.timeout(40), rig() as bus:
        actor, stop, ready = Waiting(), asyncio.Event(), list[str]()
        runtime = Runtime(actor, bus.context, bus.where, clock=ReplayClock(1), mends=NoModel)
        serving = asyncio.create_task(serve(runtime, stop, lambda: ready.append("ready")))
        await actor.looked.wait()
        stop.set()
        await serving
        await door_is_free(bus, "stt")
    assert ready == []
