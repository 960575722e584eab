"""An actor's engine is not taken away from under the work of a call that has just been closed."""

from __future__ import annotations

import asyncio

from bus.runtime import Emit
from schemas import CallClosed, CallerPcm, Event, Sentence, Stamp
from tests.rig import rig, until


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
    async with asyncio.timeout(5), rig() as bus:
        actor = Counter()
        async with bus.running(actor) as runtime:
            stamp = Stamp(source="x", inc=1, seq=0, at_ns=0)
            runtime._take(CallClosed(call="C1", reason="hangup"), stamp)
            runtime._take(CallerPcm(call="C1", pcm=bytes(640)), stamp)
            runtime._take(CallerPcm(call="C2", pcm=bytes(640)), stamp)
            await until(lambda: len(actor.seen) == 2)
        assert actor.seen == ["CallClosed C1", "CallerPcm C2"]
