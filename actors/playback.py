"""playback: synthesised sound comes in; frames paced in real time go to the line, ducked when asked.

It hears the caller's onset itself and ducks at once; whether it was meant is turn_manager's affair.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import samplerate
import structlog

from actors.gain import Gain
from bus.runtime import Emit
from schemas import (
    AgentPcm,
    CallClosed,
    CallOpened,
    Duck,
    Ducked,
    Event,
    PlaybackFinished,
    PlaybackStarted,
    Restore,
    Restored,
    Speech,
    SpeechStarted,
)

log = structlog.get_logger()
LATE_FRAMES = 2


class Resampler:
    """A turn's sound at the voice's rate goes in, at the line's rate it comes out."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._ratio = rate_out / rate_in
        self._inner = None if rate_in == rate_out else samplerate.Resampler("sinc_fastest", 1)

    def push(self, pcm: bytes, last: bool) -> bytes:
        """int16 PCM both ways; `last` brings out what the filter still holds."""
        if self._inner is None:
            return pcm
        samples = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
        out = self._inner.process(samples, self._ratio, end_of_input=last)
        return bytes((np.clip(out, -1, 1) * 32767).astype(np.int16).tobytes())


@dataclass
class Playing:
    """The turn being played on one call."""

    turn: int
    resampler: Resampler
    gain: Gain
    due_ns: int
    sound: bytearray = field(default_factory=bytearray)
    sent: int = 0
    starved_ns: int = 0
    ducked: bool = False


class PlaybackActor:
    """One frame every `frame_ms`, one frame ahead of the line so that jitter leaves no hole."""

    name = "playback"
    hears = (Speech, SpeechStarted, Duck, Restore, CallOpened, CallClosed)

    def __init__(
        self,
        frame_ms: int = 20,
        duck_db: float = -26.0,
        ramp_ms: float = 10,
        ducks: bool = True,
    ) -> None:
        """`ducks=False`: half duplex, the voice takes no notice of the caller."""
        self._frame_ns = frame_ms * 1_000_000
        self._frame_ms, self._duck_db, self._ramp_ms, self._ducks = (
            frame_ms,
            duck_db,
            ramp_ms,
            ducks,
        )
        self._rates: dict[str, int] = {}
        self._playing: dict[str, Playing] = {}

    async def load(self) -> None:
        """There is no engine here."""

    async def close(self) -> None:
        self._playing.clear()

    async def react(self, event: Event, emit: Emit) -> None:
        if isinstance(event, Speech):
            await self._play(event, self._state(event, emit), emit)
        elif isinstance(event, SpeechStarted | Duck):
            self._duck(event, emit)
        elif isinstance(event, Restore):
            self._restore(event, emit)
        elif isinstance(event, CallOpened):
            self._rates[event.call] = event.agent_rate
        elif isinstance(event, CallClosed):
            self._rates.pop(event.call, None)
            self._playing.pop(event.call, None)

    def _state(self, event: Speech, emit: Emit) -> Playing:
        playing = self._playing.get(event.call)
        if playing is None or playing.turn != event.turn:
            rate = self._rate(event.call)
            playing = Playing(
                event.turn,
                Resampler(event.rate, rate),
                Gain(rate, self._ramp_ms),
                due_ns=emit.at_ns - self._frame_ns,
            )
            self._playing[event.call] = playing
        return playing

    def _rate(self, call: str) -> int:
        return self._rates.get(call, 16_000)

    async def _play(self, event: Speech, playing: Playing, emit: Emit) -> None:
        playing.sound += playing.resampler.push(event.pcm, event.last)
        rate = self._rate(event.call)
        frame = 2 * rate * self._frame_ms // 1000
        try:
            while len(playing.sound) >= frame:
                await self._pace(playing, emit)
                self._send(event, playing, frame, emit)
            if event.last:
                await self._finish(event, playing, frame, emit)
        finally:
            emit.note(
                unplayed_ms=round(len(playing.sound) / 2 / rate * 1000),
                played_samples=playing.sent,
            )

    async def _pace(self, playing: Playing, emit: Emit) -> None:
        """Wait for the frame's time; a voice that was starved starts anew from now."""
        await emit.clock.sleep_until(playing.due_ns)
        late_ns = emit.clock.now() - playing.due_ns
        if late_ns > LATE_FRAMES * self._frame_ns and playing.sent:
            playing.starved_ns += late_ns
            playing.due_ns += late_ns
        playing.due_ns += self._frame_ns

    def _send(
        self, event: Speech, playing: Playing, size: int, emit: Emit, last: bool = False
    ) -> None:
        pcm = playing.gain.apply(bytes(playing.sound[:size]))
        frame = AgentPcm(
            call=event.call,
            turn=event.turn,
            first=playing.sent,
            rate=self._rate(event.call),
            pcm=pcm,
            ducked=playing.ducked,
            last=last,
        )
        if not emit(frame):
            return
        if not playing.sent:
            emit(PlaybackStarted(call=event.call, turn=event.turn))
        playing.sent = frame.end
        del playing.sound[:size]

    async def _finish(self, event: Speech, playing: Playing, frame: int, emit: Emit) -> None:
        if playing.sound or not playing.sent:
            playing.sound += bytes(frame - len(playing.sound))
        await self._pace(playing, emit)
        self._send(event, playing, len(playing.sound), emit, last=True)
        emit(
            PlaybackFinished(
                call=event.call,
                turn=event.turn,
                samples=playing.sent,
                rate=self._rate(event.call),
                starved_ms=playing.starved_ns / 1e6,
            )
        )
        self._playing.pop(event.call, None)

    def _duck(self, event: Event, emit: Emit) -> None:
        """At the caller's onset whatever is playing, at an order the turn it names."""
        call, playing = event.call, self._playing.get(event.call)
        if playing is None or (event.turn and event.turn != playing.turn):
            return
        if self._ducks and not playing.ducked:
            playing.ducked = True
            playing.gain.aim(self._duck_db)
            emit(Ducked(call=call, turn=playing.turn, at=playing.sent, gain_db=self._duck_db))

    def _restore(self, event: Restore, emit: Emit) -> None:
        call, playing = event.call, self._playing.get(event.call)
        if playing is not None and playing.turn == event.turn and playing.ducked:
            playing.ducked = False
            playing.gain.aim(0.0)
            emit(Restored(call=call, turn=playing.turn, at=playing.sent))
