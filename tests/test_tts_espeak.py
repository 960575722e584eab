"""Sentences go into the real espeak-ng; PCM, word places and prompt cancels come out."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.narration import Narration, speakable
from engines.protocols import Chunk, EngineError, Spoken, Voice
from engines.tts_espeak import EXAMPLES, EspeakVoice

TEXT = "— Hello there, Dr. Smith. It is 3.14 o'clock of the day; café naïve 🙂. Don't you think?"
LONG = "The keeper climbed the hundred steps of her lighthouse every evening. " * 12


@pytest.fixture
async def voice() -> AsyncIterator[EspeakVoice]:
    voice = EspeakVoice()
    await voice.load()
    yield voice
    await voice.close()


async def spoken(voice: Voice, text: str) -> list[Chunk]:
    return [chunk async for chunk in voice.stream(text)]


async def sound(voice: Voice, text: str) -> bytes:
    return b"".join(chunk.pcm for chunk in await spoken(voice, text))


async def cut_after(voice: Voice, text: str, chunks: int) -> float:
    """Take that many chunks and close; the milliseconds closing took."""
    async with aclosing(voice.stream(text)) as stream:
        taken = 0
        async for _ in stream:
            taken += 1
            if taken == chunks:
                break
        began = time.perf_counter()
    return (time.perf_counter() - began) * 1000


async def test_words_tile_the_text_and_the_sound(voice: Voice) -> None:
    chunks = await spoken(voice, TEXT)
    words = [word for chunk in chunks for word in chunk.words]
    assert " ".join(word.text for word in words) == TEXT
    assert "3.14" in [word.text for word in words]
    total = sum(len(chunk.pcm) for chunk in chunks) // 2
    edges = [edge for word in words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert 0 <= edges[0] < edges[-1] <= total
    assert all(word.start < word.end for word in words)
    assert words[1].end < words[2].start  # the comma's silence belongs to no word


async def test_a_word_rides_on_the_chunk_it_begins_in(voice: Voice) -> None:
    at = 0
    for chunk in await spoken(voice, TEXT):
        end = at + len(chunk.pcm) // 2
        assert all(at <= word.start < end for word in chunk.words)
        assert end - at <= voice.rate * 0.061
        at = end


async def test_the_same_text_is_the_same_sound_also_after_cancels(voice: Voice) -> None:
    undisturbed = await sound(voice, TEXT)
    chance = random.Random(7)
    for _ in range(40):
        await cut_after(voice, LONG, chance.randrange(1, 300))
        assert await sound(voice, TEXT) == undisturbed


async def test_closing_waits_for_the_thread_and_is_quick(voice: Voice) -> None:
    chance = random.Random(11)
    took = [await cut_after(voice, LONG, chance.randrange(1, 60)) for _ in range(200)]
    assert sorted(took)[100] < 5  # measured p50 0.2 ms, p99 2.1 ms; a loaded box is slower
    assert await sound(voice, "Still here.")


async def test_a_taker_who_stops_taking_is_not_run_ahead_of() -> None:
    voice = EspeakVoice(depth=2)
    await voice.load()
    try:
        async with asyncio.timeout(40):
            assert await cut_after(voice, LONG, 1) < 1000  # the thread waited for room: woken
            assert len(await spoken(voice, LONG)) > 100
    finally:
        await voice.close()


async def test_a_cancelled_task_leaves_no_thread_in_the_library(voice: Voice) -> None:
    begun = asyncio.Event()

    async def speak() -> None:
        async with aclosing(voice.stream(LONG)) as stream:
            async for _ in stream:
                begun.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(speak())
    await begun.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert await sound(voice, "Next.")


async def test_streams_of_several_voices_take_turns(voice: Voice) -> None:
    other = EspeakVoice("de", words_per_minute=260, pitch=80)
    await other.load()
    alone = await sound(voice, TEXT), await sound(other, TEXT)
    together = await asyncio.gather(*(sound(each, TEXT) for each in (voice, other) * 4))
    assert tuple(together) == alone * 4
    assert alone[0] != alone[1]
    assert len(alone[1]) < len(alone[0])
    await other.close()
    assert await sound(voice, TEXT) == alone[0]


async def test_a_stream_still_queued_is_closed_at_once(voice: Voice) -> None:
    slow, queued = voice.stream(LONG), voice.stream(TEXT)
    await anext(slow)
    waiting = asyncio.create_task(anext(queued))
    await asyncio.sleep(0)  # one pass of the loop: it is queued now
    waiting.cancel()
    await asyncio.wait({waiting})
    await queued.aclose()
    await slow.aclose()
    assert await sound(voice, "Free again.")


@pytest.mark.parametrize("text", ["", "  \n", "...", "?!", "\x01\x02", "🙂", "— …"])
async def test_nothing_to_say_is_no_sound(voice: Voice, text: str) -> None:
    assert await spoken(voice, text) == []


async def test_control_characters_are_not_spoken(voice: Voice) -> None:
    assert await sound(voice, "one\x00 two\x01\ud800 three") == await sound(voice, "one two three")


async def test_an_unknown_voice_names_those_there_are() -> None:
    with pytest.raises(EngineError, match=r"no voice 'martian'.*en-us"):
        await EspeakVoice("martian").load()
    for name in EXAMPLES:
        voice = EspeakVoice(name)
        await voice.load()
        await voice.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("espeak")]


async def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(EngineError, match="80 to 450"):
        EspeakVoice(words_per_minute=5)


async def test_a_voice_not_loaded_says_so() -> None:
    with pytest.raises(EngineError, match="load"):
        await sound(EspeakVoice(), "Hello.")


PLACES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2000)), max_size=12)


@given(st.text(max_size=50).map(speakable).filter(bool), PLACES)
def test_narration_gives_back_text_and_sound_whatever_the_events(
    text: str, places: list[tuple[int, int]]
) -> None:
    narration, chunks = Narration(text), []
    ordered = list(zip(sorted(p for p, _ in places), sorted(s for _, s in places), strict=True))
    pcm = bytes(range(1, 251)) * 16  # 2000 samples
    for at in range(0, len(pcm), 800):
        within = [(p, s) for p, s in ordered if at <= 2 * s < at + 800]
        chunks += narration.push(pcm[at : at + 800], within)
    chunks += narration.finish()
    words: list[Spoken] = [word for chunk in chunks for word in chunk.words]
    assert b"".join(chunk.pcm for chunk in chunks) == pcm
    if any(s < 2000 for _, s in ordered):
        assert " ".join(word.text for word in words) == text
    assert all(a.end <= b.start for a, b in itertools.pairwise(words))
    assert math.prod(len(word.text) for word in words) > 0
