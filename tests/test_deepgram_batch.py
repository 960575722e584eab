"""Recorded sound goes to a server of Deepgram's protocol; words, or a reason, come back."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from engines.protocols import EngineError
from tests.fakes.deepgram import TALK, WHOSE, DeepgramServer, recorded, voice

FIRST = 48_000


async def test_recorded_sound_is_transcribed_at_its_place() -> None:
    async with recorded(DeepgramServer()) as engine:
        await engine.load()
        guess = await engine.transcribe(voice("seven plus five"), FIRST)
    assert (guess.text, guess.start, guess.end) == ("seven plus five", FIRST, FIRST + 7200)
    assert [word.start for word in guess.words] == [FIRST, FIRST + 2400, FIRST + 4800]


async def test_recorded_sound_has_its_speakers() -> None:
    async with recorded(DeepgramServer(speakers=True)) as engine:
        guess = await engine.transcribe(b"".join(voice(text, who) for who, text in TALK), FIRST)
    assert [(word.text, word.speaker) for word in guess.words] == WHOSE
    assert guess.speaker == "1"


@pytest.mark.parametrize(
    ("status", "said"), [(429, "too many"), (500, "tried again"), (400, "check")]
)
async def test_a_batch_that_is_refused_says_what_to_do(status: int, said: str) -> None:
    server = DeepgramServer()
    server.faults.refuse = status
    async with recorded(server) as engine:
        with pytest.raises(EngineError, match=said):
            await engine.transcribe(voice("stop"), 0)


async def test_a_batch_answer_that_is_none_and_a_cancelled_one() -> None:
    server = DeepgramServer()
    server.faults.garbage = True
    async with recorded(server) as engine:
        with pytest.raises(EngineError, match="none of its protocol"):
            await engine.transcribe(voice("stop"), 0)
        server.faults.late = asyncio.Event()
        waiting = asyncio.create_task(engine.transcribe(voice("stop"), 0))
        await server.until(lambda: len(server.asked) == 2)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        server.faults.late.set()
