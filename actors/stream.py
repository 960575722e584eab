"""One channel of one call in stt: events come in, words go out, whatever happens to the recogniser.

A stream is live while it has a session. When that dies or hangs the stream is degraded: what is heard is
in the journal, and goes to the batch engine in chunks. Recovery connects, flushes the chunks, hands the
rest to the new session, and only then says so. `Channel` keeps the account of all of it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from ulid import ULID

from actors import told
from actors.backoff import ATTEMPTS, backoff_s
from actors.batches import Batches
from actors.channel import Channel
from actors.degraded import Allowance, Chunk, Degraded
from actors.doors import Grant, Leave, Sounds
from actors.kept_sound import KeptSound
from actors.listening import RATE, Listener
from actors.pinned import Pinned, failing
from actors.segments import Segment
from actors.speakers import Speakers
from actors.transcript import Transcript
from bus.errors import NoAnswer
from bus.runtime import Emit
from engines.protocols import BatchStt, EngineError, Full, Hypothesis, SttEngine
from schemas import (
    EngineFailed,
    EngineWorked,
    Event,
    SessionOpened,
    SttDegraded,
    SttRecovered,
    Transcribed,
)

log = structlog.get_logger()
LAST_WORDS_S = 30.0
"""How long a hang-up waits for words still owed by a live session, before the batch engine gets them."""
LOOK_S = 0.25
NO_PLACE = "the recogniser is full: batches until a place gets free"


@dataclass
class Kit:
    """What all streams of stt share."""

    engine: SttEngine
    batch: BatchStt | None
    sounds: Sounds | None
    leave: Leave
    endpoint: str = ""
    preroll: int = 6400
    longest: int = 30 * RATE
    lull: int = 1536
    second_look: int = 2200 * 16
    sure_nats: float = 4.0
    """Where the sound alone is so sure, for or against, a second look changes nothing: it is spared."""
    stall_ms: float = 2000
    batch_interval_s: float = 30.0
    batch_wait_s: float = 20.0
    reopen_ms: float = 0
    """So long after a CANCEL a session bound to the turn is opened anew; 0: none is bound to one."""
    allowance: Allowance = field(default_factory=Allowance)
    thrown: Callable[[], float] = random.random


class Stream:
    """Everything of one channel. `take` is called for its events, in order."""

    def __init__(
        self, call: str, number: int, kit: Kit, transcript: Transcript, emit: Emit
    ) -> None:
        self.call, self.number, self.kit, self._emit = call, number, kit, emit
        self._transcript = transcript
        self._speakers = Speakers(number)
        self.channel = Channel(
            number, transcript.segments, kit.preroll, kit.longest, self._speakers.default
        )
        self.pinned: Pinned | None = None
        self.degraded: Degraded | None = None
        self.waits_for_place = False
        """The recogniser works, for others: a place that gets free is worth another try."""
        self.opened = 0
        self._lock, self._flushing = asyncio.Lock(), asyncio.Lock()
        self._recovering = False
        self._closing = False
        self._kept = KeptSound(call, number, kit.sounds, emit.clock)
        self._batches = Batches(call, kit.batch, kit.allowance, kit.batch_wait_s, self._kept, emit)
        self._listener = Listener(
            call, self.channel, self._kept, kit.lull, kit.sure_nats, self._degrade, self._write
        )
        self._settled = asyncio.Event()
        self._told_to = self.channel.covered_to
        self._last_words: set[asyncio.Task[None]] = set()

    # -- events ----------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Open a session, then catch up with what the journal has: a predecessor may have died."""
        async with self._lock:
            try:
                self._adopt(await self._open())
            except EngineError as error:
                self._degrade(str(error), full=isinstance(error, Full))
            await self._listener.catch_up(None, patience_s=0)

    async def transcribe_what_is_left(self) -> None:
        """The call ended while nobody listened: the batch engine gets all of it."""
        self.degraded = Degraded(self.channel.covered_to, self._emit.clock.now())
        self._closing = True
        await self.hang_up()

    def talked_over(self, agent_speaks: bool) -> None:
        """Whether what is said now is said over the agent: then it matters if a short word was meant."""
        self.channel.look_at = self.kit.second_look if agent_speaks else 0

    async def take(self, event: Event) -> None:
        """A frame or a mark. What is missing before it is fetched first; what is known is left."""
        async with self._lock:
            try:
                await self._listener.take(event)
                self._check()
            except EngineError as error:
                self._degrade(str(error))
        self._quiet()

    def _check(self) -> None:
        if self.pinned is not None:
            self.pinned.check(self._emit.clock.now(), nothing_owed=not self._owes())

    def _owes(self) -> bool:
        return any(utterance.end is not None for utterance in self.channel.owed)

    # -- sessions --------------------------------------------------------------------------------

    async def _open(self) -> Pinned:
        with failing():
            session = await self.kit.engine.open()
        self.opened += 1
        return Pinned(session, self.kit.stall_ms, self._emit.clock.now())

    def _adopt(self, pinned: Pinned, sounds: list[bytes] | None = None) -> None:
        """The running path feeds this session from now on."""
        self.pinned = pinned
        self._speakers.reset(pinned.id)
        self._emit.background(self._report(pinned))
        self._emit(
            SessionOpened(
                call=self.call,
                channel=self.number,
                stt_session=pinned.id,
                first=self.channel.covered_to,
            )
        )
        self.channel.go_live(pinned, sounds or [b""] * len(self.channel.owed))

    async def renew(self) -> None:
        """The turn was cancelled and the session went with it: another after the grace.

        What is heard meanwhile is in the account, and goes to the new one.
        """
        async with self._lock:
            if self.pinned is None or self._closing:
                return
            self._spawn(self._close(self.pinned))
            self.pinned = self.channel.session = None
        clock = self._emit.clock
        await clock.sleep_until(clock.now() + int(self.kit.reopen_ms * 1e6))
        async with self._lock:
            if self.pinned is not None or self.degraded is not None or self._closing:
                return
            try:
                pinned = await self._open()
                self._adopt(pinned, await self._owed_sounds())
            except EngineError as error:
                self._degrade(str(error), full=isinstance(error, Full))

    async def _owed_sounds(self) -> list[bytes]:
        return [await self._kept.sound(start, end) for start, end in self.channel.owed_ranges()]

    async def _report(self, pinned: Pinned) -> None:
        """What a session makes of it, under its own name, until it ends."""
        why = "the recogniser ended its session"
        try:
            with failing():
                async with aclosing(pinned.session.results()) as results:  # type: ignore[type-var] # generators all
                    async for guess in results:
                        self._heard(pinned, guess)
        except EngineError as error:
            why = str(error)
        finally:
            await self._close(pinned)
        if pinned is self.pinned:
            self._degrade(why)

    async def _close(self, pinned: Pinned) -> None:
        if not pinned.over:
            pinned.over = True
            await pinned.session.close()
            self.opened -= 1
            if self.waits_for_place:  # it was the place of its own predecessor
                self.recover()

    def _heard(self, pinned: Pinned, guess: Hypothesis) -> None:
        if pinned is not self.pinned:
            self._late(pinned, guess)
            return
        if guess.second is not None:
            self._say(told.second(self.call, self.number, guess, pinned.id))
            return
        if not guess.final:
            pinned.told(nothing_owed=False)
            self._say(told.partial(self.call, self.number, guess, pinned.id))
            return
        if not self.channel.awaits(guess.utterance):
            self._degrade(f"it gave a final nobody had asked for: utterance {guess.utterance}")
            return
        words = self._speakers.named(pinned.id, guess.words)
        speaker = self._speakers.name(pinned.id, guess.speaker) or ""
        owed = self.channel.owed[0] if self.channel.owed else None
        more, second = owed is not None and owed.more, owed is not None and owed.second
        segments = self.channel.final(replace(guess, words=words), pinned.id, speaker)
        pinned.told(nothing_owed=not self._owes())
        self._write(segments)
        self._say(told.final(self.call, self.number, guess, pinned.id, more, second))
        self._emit(EngineWorked(call=self.call, service="stt", endpoint=self.kit.endpoint))
        if not self.channel.owed:
            self._settled.set()

    def _late(self, pinned: Pinned, guess: Hypothesis) -> None:
        """Words of a session that was given up: kept with its name, and no part of any turn."""
        if guess.final and guess.text:
            self._write(
                [
                    Segment(
                        channel=self.number,
                        start=guess.start,
                        end=guess.end,
                        kind="late",
                        text=guess.text,
                        speaker=self._speakers.name(pinned.id, guess.speaker) or "",
                        stt_session=pinned.id,
                    )
                ]
            )

    def _say(self, event: Event) -> None:
        """After a hang-up nobody may act on words any more; the transcript has them."""
        if not self._closing:
            self._emit(event)

    # -- degraded --------------------------------------------------------------------------------

    def _degrade(self, why: str, full: bool = False) -> None:
        """At once: from here on everything heard is owed to the batch engine.

        `full`: the recogniser works, and has no place for this stream; its circuit hears nothing of it.
        """
        if self.pinned is not None:
            self.pinned.why = why
            self._spawn(self._close(self.pinned))
        self.pinned = self.channel.session = None
        self._speakers.reset("")
        if self.degraded is not None:
            return
        at_ns = self._emit.clock.now()
        self.degraded = Degraded(self.channel.covered_to, at_ns, why)
        self.waits_for_place = full
        if full:
            log.warning(NO_PLACE, call_id=self.call, channel=self.number, why=why)
        else:
            log.error("recogniser failed", call_id=self.call, channel=self.number, error=why)
            self._emit(
                EngineFailed(call=self.call, service="stt", endpoint=self.kit.endpoint, error=why)
            )
        self._emit(
            SttDegraded(
                call=self.call,
                channel=self.number,
                batch_mode=self.kit.batch is not None,
                batch_interval_s=self.kit.batch_interval_s,
                why=why,
            )
        )
        self._settled.set()
        self._emit.background(self._every_interval(self.degraded))
        self.recover()

    def recover(self) -> None:
        """Start the one recovery task, unless it runs."""
        if self.degraded is not None and not self._recovering and not self._closing:
            self._recovering = True
            self._emit.background(self._recovery())

    async def _every_interval(self, degraded: Degraded) -> None:
        """A batch every so often, and another try to recover, for as long as this lasts."""
        clock, due_ns = self._emit.clock, degraded.since_ns
        while self.degraded is degraded and not self._closing:
            due_ns += int(self.kit.batch_interval_s * 1e9)
            await clock.sleep_until(due_ns)
            if self.degraded is degraded:
                await self._flush()
                self.recover()

    async def _recovery(self) -> None:
        try:
            for attempt in range(1, ATTEMPTS + 1):
                wait_ns = int(backoff_s(attempt, self.kit.thrown()) * 1e9)
                await self._emit.clock.sleep_until(self._emit.clock.now() + wait_ns)
                if self._closing or not await self._attempt():
                    return
        finally:
            self._recovering = False

    async def _attempt(self) -> bool:
        """Connect, flush, hand over, tell: in this order. Whether another attempt makes sense."""
        grant = await self.kit.leave.ask("stt", self.kit.endpoint, self.call)
        if not grant.granted:  # a circuit tells when it lets somebody through; who is away does not
            return not grant.answered
        try:
            pinned = await self._open()
        except Full as error:
            self.waits_for_place = True
            log.info(NO_PLACE, call_id=self.call, channel=self.number, why=str(error))
            await self.kit.leave.give_back(grant, "worked")
            return False
        except EngineError as error:
            self.waits_for_place = False
            return await self._attempt_failed(grant, str(error))
        except asyncio.CancelledError:
            await self.kit.leave.give_back(grant, "unused")
            raise
        try:
            await self.kit.leave.give_back(grant, "worked")
            if not self._batches.hangs:  # else the new session gets it all
                await self._flush()
            async with self._flushing, self._lock:
                if self._closing:
                    return False
                await self._hand_over(pinned)
        except EngineError as error:
            self._degrade(str(error))
            return True
        finally:
            if self.pinned is not pinned:
                await self._close(pinned)
        return False

    async def _attempt_failed(self, grant: Grant, why: str) -> bool:
        """A failed probe ends the remaining attempts: the circuit is open again."""
        log.error("recogniser can't be opened", call_id=self.call, why=why)
        if grant.lease:
            await self.kit.leave.give_back(grant, "failed", why)
            return False
        self._emit(
            EngineFailed(call=self.call, service="stt", endpoint=self.kit.endpoint, error=why)
        )
        return True

    async def _hand_over(self, pinned: Pinned) -> None:
        """No event is taken meanwhile: what is owed goes to the new session, then what comes."""
        assert self.degraded is not None
        sounds = await self._owed_sounds()
        was, self.degraded, self._batches.hangs = self.degraded, None, False
        self.waits_for_place = False
        try:
            self._adopt(pinned, sounds)
        except EngineError:
            self.degraded = was
            raise
        self._settled.clear()
        lasted_ns = self._emit.clock.now() - was.since_ns
        self._emit(
            SttRecovered(
                call=self.call,
                channel=self.number,
                batch_mode=self.kit.batch is not None,
                batch_interval_s=self.kit.batch_interval_s,
                degraded_for_s=lasted_ns / 1e9,
            )
        )

    # -- batches ---------------------------------------------------------------------------------

    async def _flush(self, now: bool = False) -> None:
        """Transcribe what is complete. A chunk that fails stays in front and is tried again later."""
        async with self._flushing:
            if (degraded := self.degraded) is None:
                return
            while True:
                degraded.swap(self.channel.cut(now), self._emit.clock.now())
                if (chunk := degraded.next()) is None or not await self._batch(chunk):
                    return
                degraded.done(chunk)

    async def _batch(self, chunk: Chunk) -> bool:
        """Whether the words of a chunk are there now."""
        spoken = [(start, end) for start, end in self.channel.owed_ranges() if end <= chunk.end]
        stt_session, guess = str(ULID()), None
        if spoken:
            first, end = spoken[0][0], spoken[-1][1]
            guess = await self._batches.recognised(first, end)
            if guess is None:
                return False
            speakers = Speakers(self.number)
            speakers.reset(stt_session)
            guess = replace(guess, words=speakers.named(stt_session, guess.words))
        owed = len(self.channel.owed)
        segments = self.channel.batched(chunk.end, guess, stt_session)
        self._write(segments)
        for segment in segments:
            if segment.kind == "batch":
                self._say(told.of_batch(self.call, segment))
        log.info("batch", call_id=self.call, to=chunk.end, utterances=owed - len(self.channel.owed))
        return True

    # -- the transcript ---------------------------------------------------------------------------

    def _quiet(self) -> None:
        if self.degraded is None and (segments := self.channel.quiet()):
            self._write(segments)

    def _write(self, segments: list[Segment]) -> None:
        """On disk first; then the journal may forget it."""
        if not self._transcript.add(*segments):
            log.error("transcript not written; kept in memory", why=self._transcript.problem)
            return
        if self.channel.covered_to > self._told_to and not self._closing:
            self._told_to = self.channel.covered_to
            self._emit(Transcribed(call=self.call, channel=self.number, position=self._told_to))

    # -- the end ---------------------------------------------------------------------------------

    async def hang_up(self) -> None:
        """The call is over: the last words, then what the batch engine must still do, then nothing."""
        async with self._lock:
            await self._listener.catch_up(None)
            self._listener.end()
            self._settled.clear()
            self._closing = True
        if self.pinned is None and self.degraded is None:  # in the grace of `renew`
            self.degraded = Degraded(self.channel.covered_to, self._emit.clock.now())
        if self.pinned is not None and self.channel.owed:
            await self._last_of(self.pinned)
        if self.degraded is not None:
            await self._flush(now=True)
        if self.pinned is not None:
            pinned, self.pinned = self.pinned, None
            await self._close(pinned)
        await asyncio.gather(*self._last_words)
        await self._settle()

    async def _last_of(self, pinned: Pinned) -> None:
        """The last words of a recogniser, which may be slow but must get on."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                while not self._settled.is_set():
                    pinned.check(self._emit.clock.now(), nothing_owed=False)
                    with suppress(TimeoutError):  # wait_for would swallow a cancel (Python 3.11)
                        async with asyncio.timeout(LOOK_S):
                            await self._settled.wait()
        except EngineError as error:
            self._degrade(str(error))
        except TimeoutError:
            self._degrade("no last words in time")

    async def _settle(self) -> None:
        if self.channel.owed:
            log.error("words are still owed; the sound is kept", call_id=self.call)
            return
        self._write(self.channel.quiet(now=True))
        self.degraded = None
        last = Transcribed(
            call=self.call, channel=self.number, position=self.channel.heard_to, last=True
        )
        if self.kit.sounds is not None and not self._transcript.problem:
            try:
                await self.kit.sounds.transcribed(last)
            except NoAnswer as error:
                log.warning("audio_in was not told that a call is transcribed", why=str(error))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._last_words.add(task)
        task.add_done_callback(self._last_words.discard)
