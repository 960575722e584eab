"""The caller's end of a call: caller samples go to the fleet in real time, the agent's are played."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog
import zmq
from ulid import ULID

from actors.intake import line_position
from bus.ask import ask
from bus.clock import MonotonicClock
from bus.control import MANAGER
from bus.endpoints import Endpoints
from bus.errors import BargeinError, NoAnswer, WireError
from bus.link import Link
from bus.sockets import Frames, Reader, make
from bus.stamps import Stamper
from bus.wire import prefix, unpack
from ops.speaker import Speaker
from ops.unconfirmed import Unconfirmed
from ops.wav import Samples
from schemas import (
    AgentPcm,
    AskReplay,
    CallClosed,
    CallOpened,
    Cancel,
    CloseCall,
    Event,
    LineConfirmed,
    LinePcm,
    LinePlayed,
    LineResend,
    OpenCall,
    PlaybackFinished,
    Refused,
    Replayed,
    Stamp,
    TurnCancelled,
    TurnEnded,
    TurnStarted,
)

log = structlog.get_logger()
Context = zmq.Context[zmq.Socket[bytes]]
FRAME_MS = 20
REPORT_MS = 100
NS_PER_S = 1_000_000_000
LONGEST_PIECE = 100_000
"""Samples: a message must fit bus.max_frame_bytes."""
LAST_FRAMES_S = 8
"""s that a goodbye waits for audio_in: longer than a restart of it takes."""
ASK_S = 0.5
"""s until it is asked again."""
RESAMPLER_LAG = 64
"""Samples at 16 kHz that stay in a resampler at the end."""
KEPT_S = 30
"""Caller sound kept for audio_in's sake: longer than any restart of it takes."""


class CallRefused(BargeinError):
    """The fleet takes no call now; the message says what it waits for."""

    exit_code = 75


@dataclass(frozen=True)
class Rates:
    """Samples per second each way."""

    caller: int = 16_000
    agent: int = 16_000


class Line:
    """One call. `async with Line(...)` opens it; `send` numbers and sends one frame.

    `on_event` hears what happens to this call. Everything is on one clock: sample 0 of both
    directions is `t0_ns`.
    """

    def __init__(
        self,
        context: Context,
        where: Endpoints,
        rates: Rates | None = None,
        call: str = "",
        on_event: Callable[[Event], None] = lambda event: None,
        attended: bool = False,
    ) -> None:
        """`attended`: a person is there, who may be asked whether he still is."""
        self.call = call or str(ULID())
        self.rates = rates or Rates()
        self.clock = MonotonicClock()
        self.t0_ns = 0
        self.speaker = Speaker(self.rates.agent)
        self._context, self._where, self._on_event = context, where, on_event
        self._attended = attended
        self._link = Link(context, where, Stamper(f"line-{self.call[-8:]}"), self.clock)
        self._cancel = make(context, zmq.SUB)
        self._cancel.connect(where["cancel"])
        self._cancel.subscribe(prefix(Cancel, self.call))
        self._next = 0
        self._unconfirmed = Unconfirmed(KEPT_S * self.rates.caller)
        self._reported = (0, 0, False)
        self._finished = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._cancels: Reader | None = None

    async def __aenter__(self) -> Line:
        hears = (
            *(AgentPcm, PlaybackFinished, TurnStarted, TurnEnded, TurnCancelled),
            *(CallClosed, LineConfirmed, LineResend),
        )
        await self._link.listen(hears, self._take, self.call)
        self._cancels = Reader(self._cancel, self._cut)
        try:
            await self._open()
        except BaseException:
            self.close()
            raise
        self.t0_ns = self.clock.now()
        self._tasks.append(asyncio.create_task(self._report()))
        return self

    async def _open(self) -> None:
        request = OpenCall(
            call=self.call,
            line=self._link.name,
            caller_rate=self.rates.caller,
            agent_rate=self.rates.agent,
            attended=self._attended,
        )
        reply = await self._ask(request)
        if isinstance(reply, Refused):
            raise CallRefused(f"no call now: {reply.why}")
        if not isinstance(reply, CallOpened):
            raise CallRefused(f"turn_manager answered {type(reply).__name__} to OpenCall")

    async def _ask(self, request: Event, door: str = MANAGER, timeout_s: float = 2.0) -> Event:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            None, lambda: ask(self._where, door, request, timeout_s, self._context)
        )

    async def _heard_out(self) -> None:
        """Until audio_in has the last frame: the goodbye takes another lane and must not overtake it.

        audio_in asks for what it misses when the next frame comes; the last ones are sent again unasked.
        """
        end = self._next * 16_000 // self.rates.caller - RESAMPLER_LAG
        began = again_at = self.clock.now()
        while self._next and self.clock.now() - began < LAST_FRAMES_S * NS_PER_S:
            request = AskReplay(call=self.call, first=max(0, end), most=0)
            with contextlib.suppress(NoAnswer):
                answer = await self._ask(request, "audio_in", ASK_S)
                if isinstance(answer, Replayed) and answer.kept_to >= end:
                    return
                if self.clock.now() - again_at >= ASK_S * NS_PER_S:
                    again_at = self.clock.now()
                    kept_to = answer.kept_to if isinstance(answer, Replayed) else 0
                    self._send_again(line_position(kept_to, self.rates.caller))
                await asyncio.sleep(FRAME_MS / 1000)

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._heard_out()
        with contextlib.suppress(NoAnswer):
            await self._ask(CloseCall(call=self.call))
        self.close()

    def close(self) -> None:
        """Close the sockets; a call that was opened is ended by leaving the block, not by this."""
        if self._cancels is not None:
            self._cancels.close()
        self._cancel.close()
        self._link.close()

    # -- the caller ------------------------------------------------------------------------------

    def send(self, pcm: bytes) -> None:
        """The next samples of the caller, mono int16 at the caller rate."""
        rate = self.rates.caller
        self._unconfirmed.add(self._next, pcm)
        self._link.publish(LinePcm(call=self.call, first=self._next, rate=rate, pcm=pcm))
        self._next += len(pcm) // 2

    def _send_again(self, first: int) -> None:
        """What audio_in misses, up to a second of sound a message."""
        rate = self.rates.caller
        for at, pcm in self._unconfirmed.since(first, min(rate, LONGEST_PIECE)):
            self._link.publish(LinePcm(call=self.call, first=at, rate=rate, pcm=pcm, again=True))

    @property
    def sent(self) -> int:
        """Caller samples sent so far."""
        return self._next

    async def frames(self) -> AsyncIterator[int]:
        """Once per 20 ms of the call's clock, the number of the frame; late ones follow at once."""
        number = 0
        while True:
            await self.clock.sleep_until(self.t0_ns + (number + 1) * FRAME_MS * 1_000_000)
            yield number
            number += 1

    # -- the agent -------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """The agent-rate sample of the call's clock that sounds now."""
        return (self.clock.now() - self.t0_ns) * self.rates.agent // NS_PER_S

    def _take(self, event: Event, stamp: Stamp) -> None:
        if isinstance(event, AgentPcm):
            self.speaker.play(event.turn, event.pcm, self.now)
            return
        if isinstance(event, LineConfirmed):
            self._unconfirmed.confirm(event.position)
            return
        if isinstance(event, LineResend):
            self._send_again(event.first)
            return
        if isinstance(event, PlaybackFinished):
            self._finished = event.turn
        self._on_event(event)

    def _cut(self, frames: Frames) -> None:
        """The line obeys the broadcast itself: what it holds of the turn is never played."""
        try:
            event, _ = unpack(frames)
        except WireError as error:
            log.warning("control frame refused", why=str(error))
            return
        if event.call != self.call or not isinstance(event, Cancel):
            return
        played = self.speaker.cut(event.turn, self.now)
        self._played(event.turn, played, ended=True, cut=True)

    async def _report(self) -> None:
        """What was really played, every 100 ms and at the end of each turn."""
        while True:
            await asyncio.sleep(REPORT_MS / 1000)
            speaker, now = self.speaker, self.now
            ended = self._finished == speaker.turn and not speaker.sounding(now)
            if speaker.turn:
                self._played(speaker.turn, speaker.played(now), ended)

    def _played(self, turn: int, samples: int, ended: bool, cut: bool = False) -> None:
        """Report it, unless nothing has changed since the last report."""
        if self._reported[0] == turn and (
            self._reported[2] or self._reported[1:] == (samples, ended)
        ):
            return
        self._reported = (turn, samples, ended)
        self._link.publish(
            LinePlayed(
                call=self.call,
                turn=turn,
                samples=samples,
                rate=self.rates.agent,
                ended=ended,
                cut=cut,
            )
        )

    def recording(self) -> Samples:
        """The agent as it sounded, as long as what the caller sent."""
        return self.speaker.recording(self._next * self.rates.agent // self.rates.caller)
