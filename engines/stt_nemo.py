"""A streaming model of NeMo as an SttEngine: utterances of several calls in, their partials and finals out.

One thread has the model. As long as there is sound for it, one step follows another, and takes along one
chunk of every call that has one. An utterance begins with empty caches, so that it depends on nothing but
itself. Settling tries out the end on a copy of the utterance's state; resuming forgets the copy.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from engines.nemo_frames import RATE, Cutter, Window
from engines.nemo_model import Ear, NemoModel
from engines.nemo_stack import NemoSettings, short
from engines.protocols import EngineError, Full, Hypothesis

CLOSED = "the NeMo engine is closed: make a new one"
CLOSE_S = 5.0
"""How long the end of a session waits for a step it is part of."""


@dataclass(eq=False)
class _Branch:
    """Sound that is being recognised: the utterance, or a copy of it that has ended."""

    cutter: Cutter
    ear: Ear | None = None


@dataclass(eq=False)
class _Utterance:
    """One that was begun. `trial`: how it would end here; `settled`: what came of it."""

    number: int
    first: int
    main: _Branch
    ended: bool = False
    fed: int = 0
    text: str = ""
    wanted: bool = False
    trial: _Branch | None = None
    settled: Hypothesis | None = None


@dataclass(eq=False)
class _Job:
    """A session's part in a step."""

    session: NemoSession
    utterance: _Utterance
    branch: _Branch
    window: Window
    said: Hypothesis | None = None


class NemoEngine:
    """Loads one model; `max_sessions` calls and channels at a time."""

    def __init__(self, settings: NemoSettings | None = None) -> None:
        self._settings = settings or NemoSettings()
        self._model = NemoModel(self._settings)
        self._thread = ThreadPoolExecutor(1, "nemo")
        self._sessions: list[NemoSession] = []
        self._work = asyncio.Event()
        self._steps: asyncio.Task[None] | None = None
        self._stepped = asyncio.Event()
        self._in_step: list[_Job] = []
        self._closed = False

    async def load(self) -> None:
        """Weights on the device, and steps of every kind made once. Raises EngineError.

        Loaded already, it does nothing: another engine's failure has all of them tried again.
        """
        if self._closed:
            raise EngineError(CLOSED)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._model.load)
        if self._steps is None:
            self._steps = asyncio.create_task(self._step_by_step())

    async def open(self) -> NemoSession:
        """A session. Raises Full when there are as many as there may be."""
        if self._closed:
            raise EngineError(CLOSED)
        if self._steps is None:
            raise EngineError("this recogniser is not loaded; await load() before open()")
        most = self._settings.max_sessions
        if len(self._sessions) >= most:
            raise Full(
                f"{most} calls are recognised already, that is all nemo.max_sessions allows: try again "
                "when one has ended, or raise it if the device can bear it"
            )
        session = NemoSession(self, self._model.ahead, self._settings.tail_ms * RATE // 1000)
        self._sessions.append(session)
        return session

    async def close(self) -> None:
        """When the thread has ended; sessions still open end too."""
        self._closed = True
        await asyncio.gather(*(session.close() for session in tuple(self._sessions)))
        if self._steps is not None:
            self._steps.cancel()
            await asyncio.gather(self._steps, return_exceptions=True)
        self._thread.submit(self._model.close)
        await asyncio.to_thread(self._thread.shutdown)

    # -- for sessions ----------------------------------------------------------------------------

    def wake(self) -> None:
        """There may be something to do."""
        self._work.set()

    async def leave(self, session: NemoSession) -> None:
        """When no step has to do with it any more, and its memory is given back."""
        try:
            async with asyncio.timeout(CLOSE_S):
                while any(job.session is session for job in self._in_step):
                    self._stepped.clear()
                    await self._stepped.wait()
        except TimeoutError:
            pass  # the step hangs: whoever watches the recogniser has noticed
        finally:
            session.drop()
            if session in self._sessions:
                self._sessions.remove(session)
        if not self._closed:
            await asyncio.to_thread(self._model.forget)

    # -- the steps -------------------------------------------------------------------------------

    async def _step_by_step(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._work.wait()
            self._in_step = [job for session in self._sessions if (job := session.job())]
            if not self._in_step:
                self._work.clear()
                continue
            try:
                wrong = await loop.run_in_executor(self._thread, self._step, self._in_step)
                for job in self._in_step:
                    if wrong:
                        job.session.die(wrong)
                    else:
                        job.session.done(job)
            finally:
                self._in_step = []
                self._stepped.set()

    def _step(self, jobs: list[_Job]) -> str:
        """In the thread. What went wrong, "" if nothing: an exception's frames would hold the caches."""
        try:
            self._advance(jobs)
        except EngineError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - one that got out would end the steps of all calls
            return f"a step of NeMo failed: {short(error)}"
        return ""

    def _advance(self, jobs: list[_Job]) -> None:
        """One step of each. Raises EngineError: then none of them can go on."""
        work = []
        for job in jobs:
            if job.branch.ear is None:
                job.branch.ear = self._model.ear()
            work.append((job.branch.ear, job.window))
        texts = self._model.step(work)
        for job, (ear, _), text in zip(jobs, work, texts, strict=True):
            utterance, last = job.utterance, job.window.last
            end = utterance.first + utterance.fed
            job.said = Hypothesis(
                utterance.number,
                text,
                utterance.first,
                end,
                final=False,
                words=self._model.words(ear, utterance.first, end) if last else (),
                settled=last,
            )


class NemoSession:
    """SttSession of one call and channel; `results` has one reader."""

    def __init__(self, engine: NemoEngine, ahead: int, tail: int) -> None:
        """`ahead`: encoder frames; `tail`: samples of silence at the end of an utterance."""
        self._engine, self._ahead, self._tail = engine, ahead, tail
        self._utterances: deque[_Utterance] = deque()
        self._said: asyncio.Queue[Hypothesis | None] = asyncio.Queue()
        self._fed = 0
        self._why = ""
        self._closing = False

    @property
    def dead(self) -> str:
        """Why the session is over; empty while it lives."""
        return self._why

    @property
    def worked_on(self) -> int:
        """Samples that steps were made of."""
        waiting = (one.fed - one.main.cutter.given for one in self._utterances)
        return self._fed - sum(max(0, samples) for samples in waiting)

    @property
    def backlog_ms(self) -> float:
        """Milliseconds of sound fed that no step was made of yet; up to a chunk it is no lag."""
        return (self._fed - self.worked_on) * 1000 / RATE

    def begin(self, utterance: int, first: int) -> None:
        """Start an utterance whose sound begins at sample `first` of the call (16 kHz).

        Raises EngineError while another utterance is open.
        """
        if self._open() is not None:
            raise EngineError(f"finish the open utterance before beginning {utterance}")
        self._utterances.append(_Utterance(utterance, first, _Branch(Cutter(self._ahead))))

    def feed(self, pcm: bytes) -> None:
        """Queue mono int16 PCM at 16 kHz, any length. Raises EngineError outside an utterance."""
        utterance = self._require_open()
        utterance.main.cutter.push(pcm)
        utterance.fed += len(pcm) // 2
        self._fed += len(pcm) // 2
        self._engine.wake()

    def finish(self) -> None:
        """Ask for the final of the open utterance. Raises EngineError when there is none."""
        utterance = self._require_open()
        utterance.ended = True
        if utterance.settled is None and utterance.trial is None:
            utterance.wanted = False
            utterance.main.cutter.close(self._tail)
        self._say_finals()
        self._engine.wake()

    def settle(self) -> None:
        """Ask what the final would be if the open utterance ended here. Raises EngineError outside one."""
        utterance = self._require_open()
        utterance.wanted = utterance.settled is None and utterance.trial is None
        self._engine.wake()

    def resume(self) -> None:
        """The utterance goes on after a `settle`. Raises EngineError outside one."""
        utterance = self._require_open()
        utterance.wanted, utterance.trial, utterance.settled = False, None, None

    async def results(self) -> AsyncGenerator[Hypothesis, None]:
        """Partials and finals as they come; ends after `close`. Raises EngineError when it died."""
        while (hypothesis := await self._said.get()) is not None:
            yield hypothesis
        self._said.put_nowait(None)  # for whoever asks again
        if not self._closing:
            raise EngineError(self._why)

    async def close(self) -> None:
        """Forget all of it, when the step it may be part of has ended. May be called again."""
        if not self._closing:
            self._closing = True
            self._said.put_nowait(None)
        await self._engine.leave(self)

    # -- for the engine --------------------------------------------------------------------------

    def job(self) -> _Job | None:
        """What the next step is to do for it."""
        if self._closing or self._why or not self._utterances:
            return None
        utterance = self._utterances[0]
        if utterance.trial is None and (window := utterance.main.cutter.next()):
            return _Job(self, utterance, utterance.main, window)
        if utterance.wanted:
            assert utterance.trial is None
            ear = utterance.main.ear
            utterance.trial = _Branch(utterance.main.cutter.fork(), ear and ear.fork())
            utterance.trial.cutter.close(self._tail)
            utterance.wanted = False
        if utterance.trial is not None and (window := utterance.trial.cutter.next()):
            return _Job(self, utterance, utterance.trial, window)
        return None

    def done(self, job: _Job) -> None:
        """A step has been made."""
        utterance, said = job.utterance, job.said
        assert said is not None
        if self._closing or not self._utterances or self._utterances[0] is not utterance:
            return
        if said.settled and job.branch in (utterance.main, utterance.trial):
            utterance.settled, utterance.trial = said, None
            if not utterance.ended:
                self._say(utterance, said)
        elif job.branch is utterance.main and utterance.settled is None:
            self._say(utterance, said)
        self._say_finals()

    def die(self, why: str) -> None:
        """It is over. The owner opens another one and feeds it from the last final on."""
        if not self._why:
            self._why = why
            self.drop()
            self._said.put_nowait(None)

    def drop(self) -> None:
        """Nothing of it is kept: its caches are free."""
        self._utterances.clear()

    # -- inside ----------------------------------------------------------------------------------

    def _say(self, utterance: _Utterance, said: Hypothesis) -> None:
        if said.settled or said.text != utterance.text:
            utterance.text = said.text
            self._said.put_nowait(said)

    def _say_finals(self) -> None:
        """Of utterances that have ended, in order, as far as they are known."""
        while self._utterances and self._utterances[0].ended:
            utterance = self._utterances[0]
            if utterance.settled is None:
                return
            self._utterances.popleft()
            end = utterance.first + utterance.fed
            self._said.put_nowait(replace(utterance.settled, end=end, final=True, settled=False))

    def _open(self) -> _Utterance | None:
        newest = self._utterances[-1] if self._utterances else None
        return newest if newest is not None and not newest.ended else None

    def _require_open(self) -> _Utterance:
        if (utterance := self._open()) is None:
            raise EngineError("no utterance is open: begin() one before feed() or finish()")
        return utterance
