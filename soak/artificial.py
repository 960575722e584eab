"""Artificial actors for the law of CANCEL: an order comes in, a stream of events of its turn goes out.

`python -m soak.artificial NAME RUN_DIR SEED` runs one as a process. What goes wrong with it is said
in the order itself (`Respond.say`), so that a seed gives the same faults again.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import structlog
import zmq

from bus.endpoints import Endpoints
from bus.logs import configure
from bus.runtime import Emit, Runtime
from schemas import Event, Respond, Sentence, SpokenWords

BURST = 5
PAUSE_S = 0.01
CLEANUP_S = 0.06
HEARTBEAT_MS = 250


class Chatty:
    """Speaks without end on each order; on CANCEL tries to get one more burst out before it ends."""

    hears: tuple[type[Event], ...] = (Respond,)

    def __init__(self, name: str, seed: int = 0, slow: bool = False) -> None:
        self.name = name
        self._random = random.Random(seed)
        self._slow = slow
        self._runtime: Runtime | None = None
        self.left = self.held_back = self.violations = 0

    def attach(self, runtime: Runtime) -> None:
        """The fence is looked at to prove that nothing passes it."""
        self._runtime = runtime

    async def load(self) -> None:
        """There is no engine here."""

    async def close(self) -> None:
        """There is nothing to give back."""

    def gauges(self) -> dict[str, float]:
        """Events that left, that were held back, and that left although the fence was up."""
        names = ("left", "held_back", "violations")
        return {name: float(getattr(self, name)) for name in names}

    async def react(self, event: Event, emit: Emit) -> None:
        assert isinstance(event, Respond)
        fault = event.say.removeprefix(self.name) if event.say.startswith(self.name) else ""
        try:
            await self._speak(event, emit, fault)
        finally:
            self._burst(event, emit, 0)
            if fault == " crashes in release":
                os._exit(1)
            if self._slow:
                await asyncio.sleep(self._random.uniform(0, CLEANUP_S))
                self._burst(event, emit, 0)

    async def _speak(self, event: Event, emit: Emit, fault: str) -> None:
        index = 0
        while True:
            index = self._burst(event, emit, index)
            emit.note(events=index)
            await asyncio.sleep(PAUSE_S)
            if fault == " crashes":
                os._exit(1)

    def _burst(self, event: Event, emit: Emit, index: int) -> int:
        for _ in range(BURST):
            self.say(Sentence(call=event.call, turn=event.turn, index=index, text=""), emit)
            index += 1
        return index

    def say(self, event: Event, emit: Emit) -> None:
        """A fence only rises: one that is up before the attempt must hold it back."""
        assert self._runtime is not None
        behind = not self._runtime.desk.fence.passes(event)
        if emit(event):
            self.left += 1
            self.violations += behind
        else:
            self.held_back += 1


class Relay(Chatty):
    """Passes on what others say: what arrives late must end here."""

    hears = (Sentence,)

    async def react(self, event: Event, emit: Emit) -> None:
        assert isinstance(event, Sentence)
        words = SpokenWords(
            call=event.call, turn=event.turn, sentence=event.index, text="", words=(), rate=16_000
        )
        self.say(words, emit)


def make(name: str, seed: int) -> Chatty:
    """The artificial actor of that name."""
    return Relay(name, seed) if name == "relay" else Chatty(name, seed, slow=name == "slow")


async def serve(name: str, run_dir: Path, seed: int) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    actor = make(name, seed)
    async with Runtime(actor, context, Endpoints(run_dir), heartbeat_ms=HEARTBEAT_MS):
        structlog.get_logger().info("ready", actor=name, pid=os.getpid())
        await stop.wait()
    context.term()


if __name__ == "__main__":
    configure(sys.argv[1])
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
