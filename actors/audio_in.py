"""audio_in: the line's sound comes in; 16 kHz frames and where speech begins and ends go out.

What goes out was written to the journal before; a successor goes on where the journal ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import structlog

from actors.aside import Aside
from actors.caller_journal import CallerJournal
from actors.ear import (
    BEFORE,
    LASTING,
    RATE,
    RECENT,
    WINDOW_BYTES,
    Ear,
    Owed,
    To16k,
    event_of,
    kept_sound,
    telling,
    thresholds,
    windows_of,
    written,
)
from actors.fundamental import restored
from actors.intake import Intake, line_position
from actors.segmenter import (
    WINDOW,
    Continued,
    Mark,
    Rose,
    Segmenter,
    Started,
    Window,
)
from bus.runtime import Emit, Runtime
from bus.sections import AudioIn as AudioInSettings
from engines.energy import sounds_dbfs
from engines.protocols import TurnListener, Vad, VadSession
from schemas import (
    CallClosed,
    CallerPcm,
    CallOpened,
    Event,
    LineConfirmed,
    LineLost,
    LinePcm,
    LineResend,
    Refused,
    SpeechPaused,
    Transcribed,
)

log = structlog.get_logger()
Judge = Callable[[Sequence[VadSession], npt.NDArray[np.float32]], list[float]]
FEW = 8
"""Channels up to which a window is judged in the loop's next pass."""
LINGER_S = 0.005
"""So long, with more of them, a window waits for others: at 50 calls they come every 0.6 ms.

What is computed for eight windows at once takes a third of what each alone would.
"""
CONFIRM_EVERY = 8000
"""Samples at 16 kHz between two confirmations to the line: 500 ms."""
WARM_UP = 2 * RATE
"""Sound a voice activity detector hears again before it goes on in the middle of a call."""
MOST_CHANNELS = 8
PAUSED = 8 * RATE
"""Of what was said before a pause, so much is listened to."""
AGAIN = RATE
"""Samples of voice until it is looked at again."""


class Asking(Protocol):
    """Told a sound, tells the log-odds that it wants the floor: at once, or later in the same loop."""

    def __call__(self, pcm: bytes, then: Callable[[float], None]) -> None: ...

    def close(self) -> None: ...


class Asked(NamedTuple):
    """A window that waits to be judged, and what it came with."""

    ear: Ear
    event: LinePcm
    emit: Emit
    sound: bytes


class AudioInActor:
    """Resamples, listens for speech, and reports a line that has gone silent altogether."""

    name = "audio_in"
    hears = (LinePcm, CallOpened, CallClosed, Transcribed)

    def __init__(
        self,
        vad: Vad,
        settings: AudioInSettings,
        journal: CallerJournal | None = None,
        floor: Asking | None = None,
        listener: TurnListener | None = None,
    ) -> None:
        """`journal`: where sound is kept; the last minute of it in memory by default.

        `floor`: asked whether a short utterance wants the floor; none: that is not told. `listener`: asked
        in each pause whether the caller is done.
        """
        self._floor = floor
        self._listener = listener
        self._pauses = Aside(listener) if listener else None
        self._keeps = max(RECENT, PAUSED) if listener else RECENT
        self._vad, self._settings = vad, settings
        self._journal = journal or CallerJournal()
        self._thresholds = thresholds(settings)
        self._ears: dict[tuple[str, int], Ear] = {}
        self._judge: Judge | None = getattr(vad, "judge", None)
        self._windows: list[Asked] = []
        self._soon: asyncio.Handle | None = None
        self._heard: dict[str, int] = {}
        self._loaded = asyncio.Event()

    def attach(self, runtime: Runtime) -> None:
        """The journal tells of its disk by itself."""
        self._journal.attach(runtime)

    async def load(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._vad.load)
        if self._listener is not None:
            await loop.run_in_executor(None, self._listener.load)
        await self._journal.load()
        self._loaded.set()

    async def close(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
        self._windows.clear()
        self._ears.clear()
        if self._floor is not None:
            self._floor.close()
        if self._pauses is not None:
            self._pauses.close()
        self._journal.close()

    def gauges(self) -> dict[str, float]:
        """Room the journal takes, and how many channels it does not protect."""
        return self._journal.figures

    async def answer(self, request: Event) -> Event:
        """Replays, and what the journal holds; who asks while it is still being read waits for that."""
        await self._loaded.wait()
        if (answer := self._journal.answer(request)) is not None:
            return answer
        return Refused(why=f"audio_in does not answer {type(request).__name__}", status=404)

    def react(self, event: Event, emit: Emit) -> None:
        if isinstance(event, LinePcm):
            self._hear(event, emit)
        elif isinstance(event, Transcribed):
            self._journal.release(event)
        elif isinstance(event, CallOpened):
            self._heard[event.call] = emit.at_ns
            self._journal.journals.opened(event.call)
            emit.background(self._watch(event.call, emit))
        elif isinstance(event, CallClosed):
            self._heard.pop(event.call, None)
            self._journal.journals.closed(event.call)
            for key in [key for key in self._ears if key[0] == event.call]:
                self._settle(self._ears.pop(key))

    def _hear(self, event: LinePcm, emit: Emit) -> None:
        if not 0 <= event.channel < MOST_CHANNELS or not event.samples:
            return
        ear = self._ears.get((event.call, event.channel)) or self._ear(event, emit)
        self._heard[event.call] = emit.at_ns
        verdict = ear.intake.judge(event.first, event.samples, event.again, emit.at_ns)
        if verdict == "ask":
            emit(LineResend(call=event.call, channel=event.channel, first=ear.intake.expected))
        if verdict == "take" and self._is_credible(ear, event):
            missing = ear.resampler.hole(event.first)
            first, pcm = ear.resampler.push(event.first, event.pcm)
            self._go_on(ear, event, first, pcm, missing, emit)

    def _is_credible(self, ear: Ear, event: LinePcm) -> bool:
        """A line that was silent so long is lost, and its call about to be closed, unless it was asked.

        Then this actor was away, longer than the line remembers: it goes on where the line is.
        """
        if ear.resampler.hole_s(event.first) * 1000 <= self._settings.line_lost_ms:
            return True
        if event.again:
            self._settle(ear)
            ear.begin_at(event.rate, event.first, Segmenter(self._thresholds))
        else:
            ear.intake.expected = ear.resampler.next_in
        return event.again

    def _go_on(
        self, ear: Ear, event: LinePcm, first: int, pcm: bytes, missing: int, emit: Emit
    ) -> None:
        """Into the journal, onto the bus, through the detector: in this order.

        `missing` samples at its beginning are silence that nobody said: the detector alone hears it, and
        whoever reads the positions sees that they are not there.
        """
        known = max(0, ear.journal.end - first)
        first, pcm = first + known, pcm[2 * known :]
        sound = pcm
        if (missing := max(0, missing - known)) > 0:
            log.error("the line has lost sound", call_id=event.call, first=first, samples=missing)
            first, sound = first + missing, pcm[2 * missing :]
        newest = ear.mark_at(first)
        ear.journal.append(first, sound)
        for at in range(0, len(sound), 2 * RATE):
            some = sound[at : at + 2 * RATE]
            emit(
                CallerPcm(
                    call=event.call,
                    channel=event.channel,
                    first=first + at // 2,
                    rate=RATE,
                    pcm=some,
                    onset=newest.onset if newest else -1,
                    ended=newest is None or newest.kind == "ended",
                    voiced=newest.voiced if newest else 0,
                )
            )
        self._confirm(ear, event, emit)
        self._listen(ear, event, pcm, emit)

    def _confirm(self, ear: Ear, event: LinePcm, emit: Emit) -> None:
        """The line may forget what a successor would not ask for again."""
        if ear.journal.on_disk_to - ear.confirmed >= CONFIRM_EVERY and self._journal.on_disk:
            ear.confirmed = ear.journal.on_disk_to
            position = line_position(ear.confirmed, event.rate)
            emit(LineConfirmed(call=event.call, channel=event.channel, position=position))

    def _listen(self, ear: Ear, event: LinePcm, pcm: bytes, emit: Emit) -> None:
        """Whole windows are judged; with those of other calls, where the detector can."""
        ear.pending += pcm
        if len(ear.pending) < WINDOW_BYTES:
            return
        whole = len(ear.pending) // WINDOW_BYTES * WINDOW_BYTES
        sound = bytes(ear.pending[:whole])
        del ear.pending[:whole]
        ear.recent += sound
        del ear.recent[: -2 * self._keeps]
        ear.recent_end = ear.window_end + ear.waiting + whole // 2
        if self._judge is None:
            probabilities = self._judged(ear, event, sound)
            self._tell(ear, event, windows_of(ear, sound, probabilities), emit)
            return
        ear.waiting += whole // 2
        for at in range(0, whole, WINDOW_BYTES):
            self._windows.append(Asked(ear, event, emit, sound[at : at + WINDOW_BYTES]))
        if self._soon is None:
            loop = asyncio.get_running_loop()
            few = len(self._ears) <= FEW
            self._soon = (
                loop.call_soon(self._judge_some)
                if few
                else loop.call_later(LINGER_S, self._judge_some)
            )

    def _settle(self, ear: Ear) -> None:
        """Now: nothing of what waits may come behind what is next; what odds are missing stay so."""
        while self._soon is not None:
            self._soon.cancel()
            self._judge_some()
        for owed in tuple(ear.owed):
            self._answered(ear, owed, owed.floor or 0.0)

    def _judge_some(self) -> None:
        """One window of each channel that has any; a second one of a channel comes after its first."""
        asked: dict[int, Asked] = {}
        later = [one for one in self._windows if asked.setdefault(id(one.ear), one) is not one]
        self._windows = later
        self._soon = asyncio.get_running_loop().call_soon(self._judge_some) if later else None
        some = list(asked.values())
        sound = np.frombuffer(b"".join(one.sound for one in some), "<i2").reshape(-1, WINDOW)
        levels = sounds_dbfs(sound)
        for one, level, probability in zip(some, levels, self._chances(some, sound), strict=True):
            ear = one.ear
            ear.window_end += WINDOW
            ear.waiting -= WINDOW
            try:
                window = Window(ear.window_end, probability, level)
                self._tell(ear, one.event, (window,), one.emit)
            except Exception:  # one channel's trouble is not the others'; told whole
                log.exception("react failed", call_id=one.event.call, on=type(one.event))

    def _chances(self, some: list[Asked], sound: npt.NDArray[np.int16]) -> list[float]:
        assert self._judge is not None
        try:
            voice = restored([one.ear.fundamental for one in some], sound.astype(np.float32))
            return self._judge([one.ear.vad for one in some], voice)
        except Exception:  # an engine's own bug; told whole
            log.exception("voice activity detector failed", call_id=some[0].event.call)
            return [0.0] * len(some)

    def _tell(self, ear: Ear, event: LinePcm, windows: Iterable[Window], emit: Emit) -> None:
        """What is found is told in its order, some of it with the odds that it wants the floor."""
        for window in windows:
            if window.end <= ear.told_to:
                continue
            for mark in ear.segmenter.push(window):
                owed = Owed(mark, window, event, emit)
                ear.owed.append(owed)
                sound = self._doubtful(ear, mark, window)
                if self._floor is None or sound is None:
                    self._answered(ear, owed, 0.0)
                else:
                    self._floor(sound, partial(self._answered, ear, owed))
                if isinstance(mark, Continued):
                    self._ask_if_done(ear, mark, event, emit)

    def _ask_if_done(self, ear: Ear, mark: Continued, event: LinePcm, emit: Emit) -> None:
        """In the lull, once: nothing waits for the answer."""
        lull = self._settings.lull_ms * 16
        if self._pauses is None or not mark.silent - WINDOW < lull <= mark.silent:
            return
        end = mark.window.end

        def tell(done: float) -> None:
            if done:
                emit(
                    SpeechPaused(
                        call=event.call,
                        channel=event.channel,
                        onset=mark.onset,
                        end=end,
                        voiced=mark.voiced,
                        done=done,
                    )
                )

        self._pauses(ear.sound(max(mark.onset - BEFORE, end - PAUSED), end), tell)

    def _answered(self, ear: Ear, owed: Owed, floor: float) -> None:
        """A mark is told before it is written down: told twice does no harm, never told does."""
        owed.floor = floor
        while ear.owed and ear.owed[0].floor is not None:
            told = ear.owed.popleft()
            told.emit(event_of(told.event, told.mark, told.floor or 0.0))
            if isinstance(told.mark, Rose):
                continue  # of the moment: a successor need not know
            mark = written(told.mark, told.window, ear.journal.end)
            ear.journal.mark(mark)
            ear.fresh.append(mark)

    def _doubtful(self, ear: Ear, mark: Mark, window: Window) -> bytes | None:
        """The sound that has just ended, if it is short enough to tell by; that of what seems a murmur."""
        if not self._settings.floor_ms or isinstance(mark, Rose | Started):
            return None
        if isinstance(mark, Continued):
            lasts = self._may_murmur(ear, mark)
            return ear.said(window.end - LASTING, window.end) if lasts else None
        stretch = telling(mark, window, self._settings.floor_ms)
        return None if stretch is None else ear.said(*stretch)

    def _may_murmur(self, ear: Ear, mark: Continued) -> bool:
        """It lasts, and may be many voices: once a second of voice.

        Its level varies little, or stands little above what there is all the time.
        """
        if mark.voiced < ear.asked:
            ear.asked = 0  # of another utterance
        if mark.voiced < max(self._settings.lasting_ms * 16, ear.asked + AGAIN):
            return False
        if mark.range_db is None or mark.above_db is None:
            return False
        if mark.range_db >= self._settings.lasting_db and mark.above_db >= self._settings.noisy_db:
            return False
        ear.asked = mark.voiced
        return True

    def _judged(self, ear: Ear, event: LinePcm, sound: bytes) -> list[float]:
        """The detector's probability for each window; 0 where it failed: positions must not move."""
        try:
            return ear.vad.push(ear.fundamental.push(sound))
        except Exception:  # an engine's own bug; told whole
            log.exception("voice activity detector failed", call_id=event.call)
            return [0.0] * (len(sound) // WINDOW_BYTES)

    def _ear(self, event: LinePcm, emit: Emit) -> Ear:
        """A new one begins with the call, or where the journal of a predecessor ends."""
        key = (event.call, event.channel)
        journal = self._journal.of(*key)
        begins = line_position(journal.end, event.rate) if journal.end else self._first(event)
        resampler = To16k(event.rate, begins)
        ear = self._ears[key] = Ear(
            Intake(begins),
            resampler,
            journal,
            self._vad.open(),
            Segmenter(self._thresholds),
            resampler.next_out,
            confirmed=journal.end,
        )
        if journal.end:
            self._resume(ear, event, emit)
        return ear

    def _first(self, event: LinePcm) -> int:
        """Sound is numbered from the start of the call: what came before this frame is asked for."""
        late_ms = event.first * 1000 // event.rate
        return 0 if late_ms <= self._settings.line_lost_ms else event.first

    def _resume(self, ear: Ear, event: LinePcm, emit: Emit) -> None:
        """Speech that was going on goes on; the detector hears the last seconds once more."""
        mark, end = ear.journal.last_mark, ear.journal.end
        ear.newest = mark
        if mark is not None:
            ear.told_to = mark.window
            if mark.kind != "ended":
                ear.segmenter.resume(mark.onset, mark.voiced, mark.window, mark.silent)
                end = min(end, mark.window)
        ear.window_end = max(0, end - WARM_UP) // WINDOW * WINDOW
        log.info("going on with a channel", call_id=event.call, at=ear.journal.end)
        self._listen(ear, event, kept_sound(ear.journal, ear.window_end), emit)

    async def _watch(self, call: str, emit: Emit) -> None:
        """Say once that the line is gone when no sample has come for `line_lost_ms`."""
        limit_ms = self._settings.line_lost_ms
        silent_ms = 0.0
        while silent_ms < limit_ms:
            left_ns = int((limit_ms - silent_ms) * 1e6)
            await emit.clock.sleep_until(emit.clock.now() + left_ns)
            silent_ms = (emit.clock.now() - self._heard.get(call, 0)) / 1e6
        emit(LineLost(call=call, silent_ms=int(silent_ms)))
