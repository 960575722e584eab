"""Sound whose every sample says its number, and engines that notice when one is missing or twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np

from actors.caller_journal import CallerJournal
from actors.doors import Grant
from bus.errors import NoAnswer
from bus.sections import Journal
from engines.protocols import EngineError, Full, Hypothesis, Spoken
from schemas import AskReplay, Kept, Replayed, SpeechMark, Transcribed

FRAME = 320
WORD = 8000
"""Samples to a word of the batch engine: 500 ms."""


def numbered(first: int, samples: int) -> bytes:
    """Loud, and no sample equals its neighbour."""
    return (np.arange(first, first + samples) % 20_000 + 10_000).astype(np.int16).tobytes()


def is_whole(pcm: bytes, first: int) -> bool:
    """Whether these are exactly the samples from `first` on."""
    return pcm == numbered(first, len(pcm) // 2)


def judged(pcm: bytes, utterance: int, first: int, speaker: str = "") -> Hypothesis:
    """`whole` or `broken`, as one word."""
    text = "whole" if is_whole(pcm, first) else "broken"
    end = first + len(pcm) // 2
    words = (Spoken(text, first, end),)
    return Hypothesis(utterance, text, first, end, final=True, words=words, speaker=speaker)


class Session:
    """A recogniser's session that can die, hang, or answer late; it closes when `closes` is set."""

    def __init__(self, speaker: str = "") -> None:
        self._results: asyncio.Queue[Hypothesis | EngineError | None] = asyncio.Queue()
        self._utterance = self._first = 0
        self._speaker = speaker
        self.pcm = b""
        self.dead = ""
        self.hangs = self.keeps_late = self.closed = False
        self.bug: Exception | None = None
        self.closes = asyncio.Event()
        self.closes.set()

    def begin(self, utterance: int, first: int) -> None:
        self._utterance, self._first, self.pcm = utterance, first, b""

    def feed(self, pcm: bytes) -> None:
        if self.bug is not None:
            raise self.bug
        self.pcm += pcm

    def finish(self) -> None:
        if not self.hangs:
            self._results.put_nowait(judged(self.pcm, self._utterance, self._first, self._speaker))

    def settle(self) -> None:
        """It can't tell before the end."""

    def resume(self) -> None:
        """Nothing was settled."""

    def die(self, why: str = "connection reset") -> None:
        """Noticed when its results are asked for."""
        self._results.put_nowait(EngineError(why))

    def says(self, text: str, utterance: int) -> None:
        """A final of its own making."""
        self._results.put_nowait(Hypothesis(utterance, text, 0, 1, final=True))

    async def results(self) -> AsyncGenerator[Hypothesis, None]:
        while (guess := await self._results.get()) is not None:
            if isinstance(guess, EngineError):
                raise guess
            yield guess

    async def close(self) -> None:
        await self.closes.wait()
        self.closed = True
        if self.keeps_late:
            self._results.put_nowait(judged(self.pcm, self._utterance, self._first, self._speaker))
        self._results.put_nowait(None)


class Engine:
    """`refuses`: why no session can be opened now; `bug`: what it raises instead of an EngineError.

    `most`: sessions at a time; 0 for no limit.
    """

    def __init__(self, refuses: str = "", speaker: str = "") -> None:
        self.refuses, self._speaker = refuses, speaker
        self.sessions: list[Session] = []
        self.bug: Exception | None = None
        self.tries = self.most = 0

    async def load(self) -> None: ...

    async def close(self) -> None: ...

    async def open(self) -> Session:
        self.tries += 1
        if self.refuses:
            raise EngineError(self.refuses)
        if self.bug is not None:
            raise self.bug
        if self.most and sum(not session.closed for session in self.sessions) >= self.most:
            raise Full(f"{self.most} calls already")
        self.sessions.append(Session(self._speaker))
        return self.sessions[-1]


class Batch:
    """A batch engine; `fails`: why, `gate` lets a test look while it works, `reverse`: last word first."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.reverse = False
        self.ranges: list[tuple[int, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_work = asyncio.Event()

    async def load(self) -> None: ...

    async def close(self) -> None: ...

    async def transcribe(self, pcm: bytes, first: int) -> Hypothesis:
        self.at_work.set()
        await self.gate.wait()
        if self.fails:
            raise EngineError(self.fails)
        end = first + len(pcm) // 2
        self.ranges.append((first, end))
        words = tuple(_word(pcm, first, at) for at in range(0, len(pcm) // 2, WORD))
        text = " ".join(word.text for word in words)
        words = words[::-1] if self.reverse else words
        return Hypothesis(first, text, first, end, final=True, words=words)


def _word(pcm: bytes, first: int, at: int) -> Spoken:
    part = pcm[2 * at : 2 * at + 2 * WORD]
    text = "whole" if is_whole(part, first + at) else "broken"
    return Spoken(text, first + at, first + at + len(part) // 2)


class Sounds:
    """The real journal, asked without a door. `away`: nobody answers."""

    def __init__(self, folder: Path | None = None) -> None:
        self.journal = CallerJournal(folder, Journal())
        self.away = False
        self.last: list[Transcribed] = []

    async def load(self) -> None:
        """Read what is there."""
        await self.journal.load()

    def keep(self, call: str, first: int, pcm: bytes, channel: int = 0) -> None:
        """As audio_in does."""
        self.journal.of(call, channel).append(first, pcm)

    def mark(self, call: str, mark: SpeechMark, channel: int = 0) -> None:
        """As audio_in does."""
        self.journal.of(call, channel).mark(mark)

    async def piece(
        self, call: str, channel: int, first: int, most: int = 80_000
    ) -> Replayed | None:
        self._there()
        answer = self.journal.answer(AskReplay(call=call, channel=channel, first=first, most=most))
        return answer if isinstance(answer, Replayed) else None

    async def kept(self) -> tuple[Kept, ...]:
        self._there()
        return self.journal.journals.kept()

    async def transcribed(self, event: Transcribed) -> None:
        self._there()
        self.last.append(event)
        self.journal.release(event)

    def _there(self) -> None:
        if self.away:
            raise NoAnswer("audio_in did not answer")


class Turnstile:
    """Leave that a test gives and takes."""

    def __init__(self, granted: bool = True, lease: str = "") -> None:
        self.granted, self.lease = granted, lease
        self.asked = 0
        self.away = 0
        """So many questions more are not answered."""
        self.back: list[str] = []

    async def ask(self, service: str, endpoint: str, call: str) -> Grant:
        self.asked += 1
        if self.away:
            self.away -= 1
            return Grant(False, answered=False)
        return Grant(self.granted, self.lease if self.granted else "")

    async def give_back(self, grant: Grant, outcome: str, error: str = "") -> None:
        if grant.lease:
            self.back.append(outcome)
