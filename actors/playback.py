"""playback: synthesised sound comes in; frames paced in real time go to the line, ducked when asked.

It hears the caller's onset itself and ducks at once; whether it was meant is turn_manager's affair.
A turn that is not sure yet is held: its sound is there when `turn.started` comes, or never heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field

import structlog

from actors.gain import Gain
from actors.resampler import Resampler
from bus.runtime import Emit
from schemas import (
    AgentPcm,
    CallClosed,
    CallOpened,
    Duck,
    Ducked,
    Event,
    Held,
    Hold,
    PlaybackFinished,
    PlaybackStarted,
    Restore,
    Restored,
    Speech,
    SpeechEnded,
    SpeechLikely,
    SpeechStarted,
    TurnStarted,
)

log = structlog.get_logger()
LATE_FRAMES = 2
TOGETHER_NS = 5_000_000
"""Frames are due at whole multiples of it: those of many calls leave together, in one wake-up of the loop

and of libzmq's thread. A call's frames stay 20 ms apart, ahead of the line by so much more at most.
"""
SILENT_DB = -120.0
LONGEST_HOLE_S = 1.0
"""Sound that is missing between two stretches is silence up to this long: words keep their places."""


@dataclass
class Playing:
    """The turn being played on one call, or held until it is sure.

    `notices`: where in it, in samples of the line, sound lies that is not lowered. `trial_ns`: until
    then it is lowered for a sound that may be speech. `held`: it is to pause, keeping its place;
    `paused`: it has faded out; `go` ends that. `got`: up to which sample of the voice its sound is here.
    """

    turn: int
    resampler: Resampler
    got: int
    gain: Gain
    due_ns: int | None = None
    sound: bytearray = field(default_factory=bytearray)
    sent: int = 0
    starved_ns: int = 0
    whole: bool = False
    talked_over: bool = False
    trial_ns: int = 0
    ducked: bool = False
    held: bool = False
    paused: bool = False
    go: asyncio.Event = field(default_factory=asyncio.Event)
    notices: list[tuple[int, int]] = field(default_factory=list)

    def take(self, event: Speech) -> None:
        """More sound of the turn; `whole` once it is all there.

        What is missing in between is silence, so that words keep their places. A voice that took over
        from one that died begins behind its last known word: nothing of that is here twice.
        """
        start = self.sent + len(self.sound) // 2
        self.sound += self.resampler.push(self._new(event), event.last)
        self.whole = event.last
        if event.notice:
            self.notices.append((start, self.sent + len(self.sound) // 2))

    def _new(self, event: Speech) -> bytes:
        hole = event.first - self.got
        self.got = event.end
        return bytes(2 * max(0, min(hole, int(LONGEST_HOLE_S * event.rate)))) + event.pcm

    @property
    def lowered(self) -> bool:
        """Whether the next frame is to be."""
        return (self.talked_over or self.trial_ns > 0) and not self.in_notice

    @property
    def in_notice(self) -> bool:
        """Whether the next frame is not to be talked over."""
        return any(start <= self.sent < end for start, end in self.notices)


class PlaybackActor:
    """One frame every `frame_ms`, one frame ahead of the line so that jitter leaves no hole.

    A turn is played from `turn.started` on; what comes of it before is held.
    """

    name = "playback"
    hears = (
        *(Speech, TurnStarted, SpeechLikely, SpeechStarted, SpeechEnded),
        *(Duck, Hold, Restore, CallOpened, CallClosed),
    )

    def __init__(
        self,
        frame_ms: int = 20,
        duck_db: float = -26.0,
        ramp_ms: float = 10,
        ducks: bool = True,
        trial_ms: float = 250,
    ) -> None:
        """`ducks=False`: half duplex, the voice takes no notice of the caller.

        `trial_ms`: how long it is lowered for a sound that may be speech and then is none.
        """
        self._frame_ns = frame_ms * 1_000_000
        self._frame_ms, self._duck_db, self._ramp_ms, self._ducks = (
            frame_ms,
            duck_db,
            ramp_ms,
            ducks,
        )
        self._trial_ns = int(trial_ms * 1_000_000)
        self._rates: dict[str, int] = {}
        self._playing: dict[str, Playing] = {}
        self._sure: dict[str, int] = {}
        self._over: dict[str, int] = {}
        self._talking: dict[str, int] = {}

    async def load(self) -> None:
        """There is no engine here."""

    async def close(self) -> None:
        self._playing.clear()

    def react(self, event: Event, emit: Emit) -> Awaitable[None] | None:
        if isinstance(event, Speech):
            return self._take(event, emit)
        if isinstance(event, TurnStarted):
            return self._begin(event, emit)
        if isinstance(event, SpeechStarted | Duck):
            self._duck(event, emit)
        elif isinstance(event, SpeechLikely):
            self._try(event, emit)
        elif isinstance(event, Hold):
            self._hold(event, emit)
        elif isinstance(event, SpeechEnded):
            self._talking.pop(event.call, None)
        elif isinstance(event, Restore):
            self._restore(event, emit)
        elif isinstance(event, CallOpened):
            self._rates[event.call] = event.agent_rate
        elif isinstance(event, CallClosed):
            self._forget(event.call)
        return None

    def _forget(self, call: str) -> None:
        for held in (self._rates, self._playing, self._sure, self._over, self._talking):
            held.pop(call, None)

    def _begin(self, event: TurnStarted, emit: Emit) -> Awaitable[None] | None:
        """The turn is sure. Speech that began before its question's end does not lower it."""
        self._sure[event.call] = event.turn
        if self._talking.get(event.call, event.end) < event.end:
            del self._talking[event.call]
        if (playing := self._playing.get(event.call)) is not None and playing.turn == event.turn:
            return self._play(event.call, playing, emit)
        return None

    def _take(self, event: Speech, emit: Emit) -> Awaitable[None] | None:
        if event.turn <= self._over.get(event.call, 0):
            return None  # its end was told twice
        playing = self._playing.get(event.call)
        if playing is None or playing.turn != event.turn:
            rate = self._rate(event.call)
            gain = Gain(rate, self._ramp_ms)
            resampler = Resampler(event.rate, rate)
            playing = Playing(event.turn, resampler, event.first, gain)
            self._playing[event.call] = playing
        if playing.resampler.rate_in != event.rate:
            playing.got = playing.got * event.rate // playing.resampler.rate_in
            playing.resampler = Resampler(event.rate, self._rate(event.call))
        playing.take(event)
        self._note(event.call, playing, emit)
        if self._sure.get(event.call) == event.turn:
            return self._play(event.call, playing, emit)
        return None

    def _rate(self, call: str) -> int:
        return self._rates.get(call, 16_000)

    async def _play(self, call: str, playing: Playing, emit: Emit) -> None:
        """All that is there, a frame at a time."""
        frame = 2 * self._rate(call) * self._frame_ms // 1000
        if playing.due_ns is None:
            playing.due_ns = _together(emit.at_ns) - self._frame_ns
        try:
            while len(playing.sound) >= frame:
                await self._pace(playing, emit)
                self._send(call, playing, frame, emit)
            if playing.whole:
                await self._finish(call, playing, frame, emit)
        finally:
            self._note(call, playing, emit)

    def _note(self, call: str, playing: Playing, emit: Emit) -> None:
        unplayed_ms = len(playing.sound) / 2 / self._rate(call) * 1000
        emit.note(unplayed_ms=round(unplayed_ms), played_samples=playing.sent)

    async def _pace(self, playing: Playing, emit: Emit) -> None:
        """Wait for the frame's time; a voice that was starved starts anew from now."""
        assert playing.due_ns is not None
        await emit.clock.sleep_until(playing.due_ns)
        if playing.paused:
            await playing.go.wait()
            playing.due_ns = _together(emit.clock.now())
        now = emit.clock.now()
        late_ns = now - playing.due_ns
        if late_ns > LATE_FRAMES * self._frame_ns and playing.sent:
            playing.starved_ns += late_ns
            playing.due_ns = _together(now)
        playing.due_ns += self._frame_ns

    def _send(self, call: str, playing: Playing, size: int, emit: Emit, last: bool = False) -> None:
        if not playing.sent and self._ducks and call in self._talking:
            playing.talked_over = True
        if playing.trial_ns and emit.clock.now() >= playing.trial_ns:
            playing.trial_ns = 0
        self._level(call, playing, emit)
        if playing.held:
            playing.gain.aim(SILENT_DB)
        frame = AgentPcm(
            call=call,
            turn=playing.turn,
            first=playing.sent,
            rate=self._rate(call),
            pcm=playing.gain.apply(bytes(playing.sound[:size])),
            ducked=playing.ducked,
            last=last,
        )
        if not emit(frame):
            return
        if not playing.sent:
            emit(PlaybackStarted(call=call, turn=playing.turn))
        playing.sent = frame.end
        del playing.sound[:size]
        if playing.held and not playing.paused:
            playing.paused = True
            emit(Held(call=call, turn=playing.turn, at=playing.sent))

    async def _finish(self, call: str, playing: Playing, frame: int, emit: Emit) -> None:
        if playing.sound or not playing.sent:
            playing.sound += bytes(frame - len(playing.sound))
        await self._pace(playing, emit)
        self._send(call, playing, len(playing.sound), emit, last=True)
        emit(
            PlaybackFinished(
                call=call,
                turn=playing.turn,
                samples=playing.sent,
                rate=self._rate(call),
                starved_ms=playing.starved_ns / 1e6,
            )
        )
        self._playing.pop(call, None)
        self._over[call] = playing.turn

    def _duck(self, event: SpeechStarted | Duck, emit: Emit) -> None:
        """At the caller's onset whatever sounds, or is about to; at an order the turn it names."""
        if isinstance(event, SpeechStarted):
            self._talking[event.call] = event.onset
        playing = self._playing.get(event.call)
        if playing is None or not playing.sent or (event.turn and event.turn != playing.turn):
            return
        if self._ducks:
            playing.talked_over = True
            self._level(event.call, playing, emit)

    def _try(self, event: SpeechLikely, emit: Emit) -> None:
        """Lower the voice for a moment: speech.started will follow, or nothing."""
        playing = self._playing.get(event.call)
        if self._ducks and playing is not None and playing.sent and not playing.ducked:
            playing.trial_ns = emit.at_ns + self._trial_ns
            self._level(event.call, playing, emit)

    def _hold(self, event: Hold, emit: Emit) -> None:
        """Fade out with the next frame and keep the place; a turn that has not sounded waits."""
        playing = self._playing.get(event.call)
        if playing is None or playing.turn != event.turn or playing.in_notice or playing.held:
            return
        playing.held, playing.paused = True, not playing.sent
        playing.go.clear()

    def _restore(self, event: Restore, emit: Emit) -> None:
        self._talking.pop(event.call, None)
        playing = self._playing.get(event.call)
        if playing is None or playing.turn != event.turn:
            return
        playing.talked_over, playing.trial_ns = False, 0
        self._level(event.call, playing, emit)
        if playing.held:
            playing.held = playing.paused = False
            playing.gain.aim(0.0, not playing.sent)
            playing.go.set()

    def _level(self, call: str, playing: Playing, emit: Emit) -> None:
        """Up or down from the next frame on; at once where nothing has sounded yet."""
        if playing.lowered == playing.ducked:
            return
        playing.ducked = playing.lowered
        at, at_once = playing.sent, not playing.sent
        if playing.ducked:
            playing.gain.aim(self._duck_db, at_once)
            emit(Ducked(call=call, turn=playing.turn, at=at, gain_db=self._duck_db))
        else:
            playing.gain.aim(0.0, at_once)
            emit(Restored(call=call, turn=playing.turn, at=at))


def _together(at_ns: int) -> int:
    """The last instant at which frames are due."""
    return at_ns - at_ns % TOGETHER_NS
