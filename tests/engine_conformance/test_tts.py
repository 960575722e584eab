"""Any Voice: sound in order with its words in it; closed at any moment it stops, and the next is whole."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import numpy as np
import pytest

from engines.protocols import Chunk, Voice
from tests.engine_conformance.kit import CLOSING_S, TtsCase, held

GROWTH_MB = 30.0


async def spoken(voice: Voice, text: str) -> list[Chunk]:
    return [chunk async for chunk in voice.stream(text)]


async def sound(voice: Voice, text: str) -> bytes:
    return b"".join(chunk.pcm for chunk in await spoken(voice, text))


async def test_it_says_the_text_and_where_its_words_are(tts: TtsCase) -> None:
    async with tts.making() as voice:
        chunks = await spoken(voice, tts.text)
        rate = voice.rate
    pcm = np.frombuffer(b"".join(chunk.pcm for chunk in chunks), np.int16)
    assert 0.5 * rate < len(pcm) < 30 * rate
    assert np.abs(pcm.astype(int)).max() > 300
    words = [word for chunk in chunks for word in chunk.words]
    assert " ".join(word.text for word in words) in (tts.text, "")
    edges = [edge for word in words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= len(pcm) for edge in edges)


@pytest.mark.parametrize("taken", [0, 1, 3])
async def test_closed_at_any_moment_it_stops_and_the_next_is_whole(
    tts: TtsCase, taken: int
) -> None:
    async with tts.making() as voice:
        whole = await sound(voice, tts.text)
        stream = voice.stream(tts.long_text)
        for _ in range(taken):
            await anext(stream)
        async with asyncio.timeout(CLOSING_S):
            await stream.aclose()
        again = await sound(voice, tts.text)
    assert (again == whole) if tts.repeats else (0.5 < len(again) / len(whole) < 2)


@pytest.mark.parametrize("passes", [1, 5])
async def test_cancelled_before_its_first_sound_it_stops_too(tts: TtsCase, passes: int) -> None:
    """So many passes of the loop after it began: the first chunk was asked for, and is not there."""
    async with tts.making() as voice:
        whole = await sound(voice, tts.text)
        stream = voice.stream(tts.long_text)
        first = asyncio.ensure_future(anext(stream))
        for _ in range(passes):
            await asyncio.sleep(0)
        first.cancel()
        async with asyncio.timeout(CLOSING_S):
            await asyncio.gather(first, return_exceptions=True)
            await stream.aclose()
        again = await sound(voice, tts.text)
    assert (again == whole) if tts.repeats else (0.5 < len(again) / len(whole) < 2)


async def test_a_cancelled_task_stops_it_too(tts: TtsCase) -> None:
    async with tts.making() as voice:
        whole = await sound(voice, tts.text)
        begun = asyncio.Event()

        async def speak() -> None:
            async with aclosing(voice.stream(tts.long_text)) as stream:
                async for _ in stream:
                    begun.set()

        task = asyncio.create_task(speak())
        await begun.wait()
        task.cancel()
        async with asyncio.timeout(CLOSING_S):
            await asyncio.gather(task, return_exceptions=True)
        again = await sound(voice, tts.text)
    assert task.cancelled() or task.done()
    assert (again == whole) if tts.repeats else (0.5 < len(again) / len(whole) < 2)


async def test_two_calls_at_once_each_get_their_own(tts: TtsCase) -> None:
    async with tts.making() as voice:
        alone = [await sound(voice, text) for text in (tts.text, tts.text[::2])]
        both = await asyncio.gather(sound(voice, tts.text), sound(voice, tts.text[::2]))
    for one, other in zip(alone, both, strict=True):
        assert (one == other) if tts.repeats else (0.3 < len(other) / len(one) < 3)


@pytest.mark.parametrize("text", ["", " ", "…", "🙂", "\x00\x1b[2J"])
async def test_nothing_to_say_harms_nobody(tts: TtsCase, text: str) -> None:
    async with tts.making() as voice:
        await spoken(voice, text)
        assert await sound(voice, tts.text)


async def test_it_loads_again_after_it_was_closed(tts: TtsCase) -> None:
    for _ in range(2):
        async with tts.making() as voice:
            assert await sound(voice, tts.text)


async def test_sentences_leave_nothing_behind(tts: TtsCase) -> None:
    """Half of them cut off."""
    async with tts.making() as voice:
        for warm in (True, False):
            before = held()
            for number in range(4 if warm else tts.cycles):
                async with aclosing(voice.stream(tts.text)) as stream:
                    async for _ in stream:
                        if number % 2:
                            break
        after = held()
    assert (after.threads, after.files) <= (before.threads + 1, before.files + 4)
    assert after.rss_mb - before.rss_mb < GROWTH_MB
