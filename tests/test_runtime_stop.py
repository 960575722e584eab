"""An actor's engine is not taken away from under the work of a call that has just been closed."""

from __future__ import annotations

import asyncio

from bus.runtime import Emit
from schemas import CallClosed, Event, Sentence
from tests.rig import rig


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
