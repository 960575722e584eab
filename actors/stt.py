"""stt: caller sound and where speech begins and ends come in; partial and final words go out.

Each channel of a call is a `Stream` (actors/stream.py): there is what happens when the recogniser fails.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from actors.doors import Anyone, Breaker, Journal
from actors.stream import Kit, Stream
from actors.transcript import Transcript
from bus.asking import Asker
from bus.endpoints import Endpoints
from bus.errors import NoAnswer
from bus.journals import folder_name
from bus.runtime import Context, Emit, Runtime
from engines.protocols import SttEngine
from schemas import (
    AskKept,
    BreakerChanged,
    CallClosed,
    CallerPcm,
    CallOpened,
    Event,
    Kept,
    SpeechContinued,
    SpeechEnded,
    SpeechStarted,
    Stamp,
    TurnCancelled,
    TurnEnded,
    TurnStarted,
)

log = structlog.get_logger()
MOST_CHANNELS = 8
ASK_AGAIN_S = 1.0


class SttActor:
    """Recognises what is said between an onset, less the pre-roll, and the end of speech."""

    name = "stt"
    hears = (
        *(CallerPcm, SpeechStarted, SpeechContinued, SpeechEnded),
        *(CallOpened, CallClosed, BreakerChanged, TurnCancelled, TurnStarted, TurnEnded),
    )

    def __init__(
        self,
        engine: SttEngine,
        preroll_ms: int = 400,
        max_utterance_s: float = 30.0,
        lull_ms: int = 96,
        second_look_ms: int = 2200,
        kit: Kit | None = None,
        transcripts: Path | None = None,
        doors: tuple[Context, Endpoints] | None = None,
    ) -> None:
        """`lull_ms`: a pause of that length has the words settled, so that the final is there early.

        `second_look_ms`: what is said over the agent and is no longer is looked at twice.

        `transcripts`: a folder; None: in memory. `doors`: where audio_in and the breaker are.
        """
        self.kit = kit or Kit(engine, None, None, Anyone())
        self.kit.preroll = preroll_ms * 16
        self.kit.lull = lull_ms * 16
        self.kit.second_look = second_look_ms * 16
        self.kit.longest = int(max_utterance_s * 16_000)
        self._folder = transcripts
        self._doors = doors
        self._askers: list[Asker] = []
        self._runtime: Runtime | None = None
        self._leftovers: asyncio.Task[None] | None = None
        self._streams: dict[tuple[str, int], Stream] = {}
        self._transcripts: dict[str, Transcript] = {}
        self._over: dict[tuple[str, int], int] = {}

    def attach(self, runtime: Runtime) -> None:
        """From here on there is somebody to ask with, and as whom."""
        self._runtime = runtime
        if self._doors is not None:
            journal, breaker = (
                Asker(*self._doors, door, runtime.clock) for door in ("audio_in", "breaker")
            )
            self._askers = [journal, breaker]
            self.kit.sounds = Journal(journal)
            self.kit.leave = Breaker(breaker, self.name, runtime.stamper.inc)

    async def load(self) -> None:
        await self.kit.engine.load()
        if self.kit.batch is not None:
            await self.kit.batch.load()
        if self.kit.sounds is not None:
            self._leftovers = asyncio.create_task(self._transcribe_leftovers())

    async def close(self) -> None:
        if self._leftovers is not None:
            self._leftovers.cancel()
            await asyncio.gather(self._leftovers, return_exceptions=True)
        for asker in self._askers:
            asker.close()
        await self.kit.engine.close()
        if self.kit.batch is not None:
            await self.kit.batch.close()

    def gauges(self) -> dict[str, float]:
        """Open sessions, and channels whose recogniser is away."""
        streams = self._streams.values()
        return {
            "open_sessions": float(sum(stream.opened for stream in streams)),
            "degraded_sessions": float(sum(stream.degraded is not None for stream in streams)),
        }

    async def react(self, event: Event, emit: Emit) -> None:
        if isinstance(event, CallerPcm | SpeechStarted | SpeechContinued | SpeechEnded):
            if 0 <= event.channel < MOST_CHANNELS:
                await (await self._stream(event.call, event.channel, emit)).take(event)
        elif isinstance(event, CallOpened):
            for channel in range(event.channels):
                await self._stream(event.call, channel, emit)
        elif isinstance(event, CallClosed):
            await self._hang_up(event.call)
        elif isinstance(event, TurnCancelled):
            if self.kit.reopen_ms:
                for stream in self._of(event.call):
                    emit.background(stream.renew())
        elif isinstance(event, TurnStarted | TurnEnded):
            for stream in self._of(event.call):
                stream.talked_over(isinstance(event, TurnStarted))
        elif isinstance(event, BreakerChanged) and event.service == "stt":
            self._try_again(event)

    def _of(self, call: str) -> list[Stream]:
        return [stream for (whose, _), stream in self._streams.items() if whose == call]

    async def _stream(self, call: str, channel: int, emit: Emit) -> Stream:
        if (stream := self._streams.get((call, channel))) is None:
            stream = Stream(call, channel, self.kit, self._transcript(call), emit)
            self._streams[call, channel] = stream
            await stream.begin()
        return stream

    def _transcript(self, call: str) -> Transcript:
        if (transcript := self._transcripts.get(call)) is None:
            path = self._folder and self._folder / f"{folder_name(call)}.jsonl"
            transcript = self._transcripts[call] = Transcript(path)
            if transcript.problem:
                log.warning("transcript was cut off", call_id=call, why=transcript.problem)
        return transcript

    def _try_again(self, event: BreakerChanged) -> None:
        """The circuit lets somebody through: who gets the probe is the breaker's business."""
        if event.state != "open":
            for stream in self._streams.values():
                stream.recover()

    async def _transcribe_leftovers(self) -> None:
        """Calls that ended while nobody could transcribe them, as often as a batch is due."""
        assert self.kit.sounds is not None
        assert self._runtime is not None
        clock = self._runtime.clock
        while True:
            wait_s = self.kit.batch_interval_s
            try:
                await self._transcribe(await self.kit.sounds.kept())
            except NoAnswer as error:
                log.warning("audio_in can't say what is left", why=str(error))
                wait_s = ASK_AGAIN_S
            await clock.sleep_until(clock.now() + int(wait_s * 1e9))

    async def _transcribe(self, kept: tuple[Kept, ...]) -> None:
        """What is left of calls that are over; see `journal.list`."""
        assert self._runtime is not None
        self._hear_of_the_end({left.call for left in kept if not left.open})
        going_on = {opened.call for opened in self._runtime.control.calls}
        for left in kept:
            if left.open or left.call in going_on or any(c == left.call for c, _ in self._streams):
                continue
            log.warning("transcribing a call that is over", call_id=left.call, channel=left.channel)
            cause = AskKept(call=left.call)
            stamp = Stamp(source=self.name, inc=0, seq=0, at_ns=self._runtime.clock.now())
            emit = Emit(self._runtime, cause, stamp, {})
            stream = Stream(left.call, left.channel, self.kit, self._transcript(left.call), emit)
            await stream.transcribe_what_is_left()
            self._transcripts.pop(left.call, None)

    def _hear_of_the_end(self, closed: set[str]) -> None:
        """A call that is over for audio_in, now and last time, and silent: the goodbye was lost."""
        assert self._runtime is not None
        silent = {
            key: stream.channel.heard_to
            for key, stream in self._streams.items()
            if key[0] in closed
        }
        for call in {key[0] for key, heard_to in silent.items() if self._over.get(key) == heard_to}:
            log.warning("the end of a call was not heard", call_id=call)
            stamp = Stamp(source=self.name, inc=0, seq=0, at_ns=self._runtime.clock.now())
            goodbye = CallClosed(call=call, reason="its end was not heard")
            self._runtime.work(call).push(goodbye, stamp)
        self._over = silent

    async def _hang_up(self, call: str) -> None:
        mine = [key for key in self._streams if key[0] == call]
        try:
            await asyncio.gather(*(self._streams[key].hang_up() for key in mine))
        finally:
            for key in mine:
                self._streams.pop(key, None)  # two goodbyes end it once
            self._transcripts.pop(call, None)
            for stream in self._streams.values():
                if stream.waits_for_place:
                    stream.recover()
