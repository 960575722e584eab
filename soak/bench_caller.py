"""A caller who interrupts on the clock: orders go in, for each CANCEL what was heard after it comes out.

A process of its own with a real Line. The recording tells what was played: no sample of the
artificial voice is zero. Where the agent's turn begins is said by this process in audio_in's words,
so that a turn costs no second of speaking; everything from stt on is the fleet.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import zmq

from actors.agent_side import INTERRUPTED
from bus.ask import ask
from bus.control import MANAGER
from bus.endpoints import Endpoints
from bus.link import Link
from bus.settings import Settings, load
from bus.stamps import Stamper
from ops.line import FRAME_MS, Line
from ops.supervisor import Supervisor
from schemas import (
    AgentPcm,
    CancelCall,
    Event,
    Final,
    Respond,
    SpeechEnded,
    SpeechStarted,
    Stamp,
    TurnCancelled,
    TurnEnded,
)
from soak.bench_engines import heard_of
from soak.bench_home import wait_ready
from soak.bench_kit import Context

PATIENCE_S = 15.0
LOOK_S = 0.002
SPEAKS_S = (0.3, 0.9)
"""How long the agent is let speak before it is cancelled; uniformly at random, seeded."""
WEDGED_BEFORE_S = 0.06
WINDOW = 512


class Figures(msgspec.Struct, kw_only=True):
    """One CANCEL: ms after the broadcast, and whether the words are right."""

    emitted_ms: float
    played_ms: float
    fenced_ms: float | None
    heard_right: bool
    history_right: bool = False
    heard: str = ""
    verdicts: dict[str, str] = {}


class Ears:
    """What this call's events and frames said, by turn."""

    def __init__(self) -> None:
        self.ended: dict[int, TurnEnded] = {}
        self.rounds: dict[int, TurnCancelled] = {}
        self.emitted_ns: dict[int, int] = {}
        self.asked: list[Respond] = []

    def take(self, event: Event, stamp: Stamp) -> None:
        """From the Link."""
        if isinstance(event, AgentPcm):
            self.emitted_ns[event.turn] = stamp.at_ns
        elif isinstance(event, TurnEnded):
            self.ended[event.turn] = event
        elif isinstance(event, TurnCancelled):
            self.rounds[event.turn] = event
        elif isinstance(event, Respond):
            self.asked.append(event)


class Caller:
    """One call with one cancel after the other."""

    def __init__(
        self,
        context: Context,
        settings: Settings,
        seed: int,
        speaks_s: tuple[float, float] = SPEAKS_S,
        says: str = "",
    ) -> None:
        """`speaks_s`: the shortest and longest time the agent may speak before it is cancelled.

        `says`: words put in the caller's mouth; empty where the fleet's own stt makes some up.
        """
        self._context, self._settings = context, settings
        self._speaks_s, self._says = speaks_s, says
        self._where = Endpoints(settings.run_dir)
        self._random = random.Random(seed)
        self.ears = Ears()
        self.line = Line(context, self._where)
        self._link = Link(context, self._where, Stamper("bench-caller"), self.line.clock)
        self._supervisor = Supervisor(settings.home)

    async def open(self) -> None:
        """The call stands and silence is being sent."""
        hears = (AgentPcm, TurnEnded, TurnCancelled, Respond)
        await self._link.listen(hears, self.ears.take, self.line.call)
        await self.line.__aenter__()
        self._silence = asyncio.create_task(self._send_silence())

    async def close(self) -> None:
        """Hang up."""
        self._silence.cancel()
        with suppress(asyncio.CancelledError):
            await self._silence
        await self.line.__aexit__()
        self._link.close()

    async def _send_silence(self) -> None:
        frame = bytes(2 * self.line.rates.caller * FRAME_MS // 1000)
        async for _ in self.line.frames():
            self.line.send(frame)

    async def _until(self, fact: Callable[[], Any]) -> None:
        """A call has its own clock: this is no test that sleeps, it looks 500 times a second."""
        async with asyncio.timeout(PATIENCE_S):
            while not fact():  # noqa: ASYNC110 - partly the clock itself is waited for
                await asyncio.sleep(LOOK_S)

    async def interrupt(self, stop: str = "", replaced: str = "") -> int:
        """Speak, wait until the agent is in mid-speech, cancel; the turn.

        `stop`: an actor that gets SIGSTOP just before; `replaced`: one that the warden will kill.
        """
        turn = await self._agent_speaks()
        wedged = stop or replaced
        pid = self._pid(wedged) if wedged else 0
        if stop:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(WEDGED_BEFORE_S)
        await self._order(turn)
        if wedged:
            await self._until(lambda: self._pid(wedged) not in (0, pid))
            await asyncio.get_running_loop().run_in_executor(None, wait_ready, self._settings)
        return turn

    async def _agent_speaks(self) -> int:
        before = self.line.speaker.turn
        asked = len(self.ears.asked)
        onset = self.line.sent // WINDOW * WINDOW
        call = self.line.call
        self._link.publish(SpeechStarted(call=call, onset=onset))
        end = onset + WINDOW
        if self._says:  # before the end: stt's own final of the silence is then too late
            said = Final(call=call, utterance=onset, text=self._says, start=onset, end=end)
            self._link.publish(said)
        self._link.publish(SpeechEnded(call=call, onset=onset, end=end, voiced=WINDOW))
        await self._until(lambda: len(self.ears.asked) > asked)
        turn = self.ears.asked[-1].turn
        wanted = self._random.uniform(*self._speaks_s) * self.line.rates.agent
        speaker = self.line.speaker
        await self._until(
            lambda: speaker.turn != before and speaker.played(self.line.now) >= wanted
        )
        return turn

    async def _order(self, turn: int) -> None:
        request = CancelCall(call=self.line.call, reason="bench")
        await asyncio.get_running_loop().run_in_executor(
            None, lambda: ask(self._where, MANAGER, request, PATIENCE_S, self._context)
        )
        await self._until(lambda: turn in self.ears.ended and turn in self.ears.rounds)

    def _pid(self, name: str) -> int:
        return next((p.pid for p in self._supervisor.processes() if p.name == name), 0)

    def figures(self, turn: int) -> Figures:
        """What was heard of a turn of the artificial voice that was cancelled."""
        table, ended = self.ears.rounds[turn], self.ears.ended[turn]
        began = self.line.speaker.began
        sounds = np.flatnonzero(self.line.speaker.recording(self.line.now)[began:])
        rate = self.line.rates.agent
        last_ns = self.line.t0_ns + (began + int(sounds[-1]) + 1) * 1_000_000_000 // rate
        expected = " ".join(heard_of(len(sounds)))
        return Figures(
            emitted_ms=(self.ears.emitted_ns[turn] - table.sent_ns) / 1e6,
            played_ms=(last_ns - table.sent_ns) / 1e6,
            fenced_ms=table.all_fenced_ms,
            heard_right=ended.heard == expected,
            heard=f"{ended.heard[-40:]} | {expected[-40:]}",
            verdicts={row.actor: row.verdict for row in table.rows if row.verdict != "released"},
        )

    def remembered(self, figures: Figures) -> bool:
        """Whether the order that followed shows the model just what was heard of the turn before."""
        messages = self.ears.asked[-1].messages
        said = [message.content for message in messages if message.role == "assistant"]
        return bool(said) and said[-1].removesuffix(INTERRUPTED).strip().endswith(
            figures.heard.split(" | ")[0]
        )


async def _run(orders: list[dict[str, Any]], seed: int) -> None:
    context: Context = zmq.Context()
    caller = Caller(context, load(), seed)
    await caller.open()
    before: Figures | None = None
    try:
        for order in orders:
            figures = caller.figures(await caller.interrupt(**order))
            if before is not None:
                before.history_right = caller.remembered(before)
                print(msgspec.json.encode(before).decode(), flush=True)
            before = figures
    finally:
        await caller.close()
    context.term()
    print(json.dumps({"over": True}), flush=True)


def main(arguments: list[str]) -> int:
    """Arguments: a JSON list of what `interrupt` takes, a seed. The last one's figures are not told."""
    asyncio.run(_run(json.loads(arguments[0]), int(arguments[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
