"""Chatterbox's real code on few layers: it streams, stops at every phase, and is whole again afterwards."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.chatterbox_model import FADE, RATE, ChatterboxModel, ChatterboxSettings, blended, stack
from engines.protocols import EngineError
from engines.tts_chatterbox import ChatterboxVoice
from tests.engines.small_chatterbox import build, shrunken, voice_wav

TEXT = "Hi."
CANCELS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    stack().set_num_threads(1)
    with shrunken():
        yield build(tmp_path_factory.mktemp("chatterbox"))


@pytest.fixture(scope="module")
def settings(folder: Path) -> ChatterboxSettings:
    return ChatterboxSettings(
        model=str(folder),
        voice_wav=str(voice_wav(folder / "voice.wav")),
        device="cpu",
        first_tokens=6,
        chunk_tokens=25,
        context_tokens=4,
    )


@pytest.fixture(scope="module")
def model(settings: ChatterboxSettings) -> ChatterboxModel:
    made = ChatterboxModel(settings)
    made.load()
    return made


def said(model: ChatterboxModel, text: str = TEXT) -> list[bytes]:
    chunks: list[bytes] = []
    assert model.speak(text, threading.Event(), lambda pcm, last: chunks.append(pcm))
    return chunks


def test_sound_comes_in_chunks_without_a_click(model: ChatterboxModel) -> None:
    chunks = said(model)
    assert len(chunks) >= 3
    whole = np.frombuffer(b"".join(chunks), np.int16).astype(float)
    assert len(whole) % 960 == 0
    joins = np.cumsum([len(chunk) // 2 for chunk in chunks])[:-1]
    steps = np.abs(np.diff(whole))
    usual = np.percentile(steps, 99.9)
    assert all(steps[join - 1] <= usual for join in joins)


def test_the_watermark_is_in_it(model: ChatterboxModel) -> None:
    import perth

    whole = np.frombuffer(b"".join(said(model)), np.int16).astype(np.float32) / 32768
    found = perth.PerthImplicitWatermarker().get_watermark(whole, sample_rate=RATE)
    assert float(found) == 1.0


def test_it_stops_at_every_phase_and_the_next_is_the_same_to_the_byte(
    model: ChatterboxModel,
) -> None:
    """Told at random moments of 200 syntheses; how long it took is printed, what followed is compared."""
    began = time.perf_counter()
    whole = said(model)
    length = time.perf_counter() - began
    thrown, took_ms, stopped = random.Random(1), list[float](), 0
    for number in range(CANCELS):
        stop, told = threading.Event(), list[float]()

        def ring(stop: threading.Event = stop, told: list[float] = told) -> None:
            told.append(time.perf_counter())
            stop.set()

        timer = threading.Timer(thrown.uniform(0, length), ring)
        timer.start()
        if not model.speak(TEXT, stop, lambda pcm, last: None):
            took_ms.append((time.perf_counter() - told[0]) * 1000)
            stopped += 1
        timer.cancel()
        timer.join()
        if number % 20 == 0:
            assert said(model) == whole
    assert said(model) == whole
    assert stopped > CANCELS / 2
    p50, p99 = np.percentile(took_ms, [50, 99])
    print(
        f"stopped {stopped} of {CANCELS}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {max(took_ms):.1f} ms"
    )
    assert p99 < 1000 * length / 4, "that is waiting for the end, not stopping"


def test_a_stop_before_the_beginning_makes_nothing(model: ChatterboxModel) -> None:
    stop = threading.Event()
    stop.set()
    assert not model.speak(TEXT, stop, lambda pcm, last: pytest.fail("it spoke"))


def test_cancels_pin_no_memory(model: ChatterboxModel) -> None:
    import psutil

    process = psutil.Process()
    rss = list[float]()
    for _ in range(40):
        stop = threading.Event()
        model.speak(TEXT, stop, lambda pcm, last, stop=stop: stop.set())  # type: ignore[misc]
        rss.append(process.memory_info().rss / 1e6)
    slope = np.polyfit(np.arange(20), rss[20:], 1)[0]
    print(f"memory after cancels: {slope:.2f} MB each")
    assert slope < 1.0


async def test_as_a_voice(settings: ChatterboxSettings) -> None:
    """Its words, two calls at once, a cancelled task, nothing to say, closing."""
    voice = ChatterboxVoice(settings)
    with pytest.raises(EngineError, match="await load"):
        await anext(voice.stream(TEXT))
    await voice.load()
    chunks = [chunk async for chunk in voice.stream(TEXT)]
    assert [word.text for chunk in chunks for word in chunk.words] == TEXT.split()
    whole = b"".join(chunk.pcm for chunk in chunks)

    async def sound() -> bytes:
        return b"".join([chunk.pcm async for chunk in voice.stream(TEXT)])

    assert tuple(await asyncio.gather(sound(), sound())) == (whole, whole)
    async with aclosing(voice.stream(TEXT)) as stream:
        await anext(stream)
    task = asyncio.create_task(sound())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await sound() == whole
    assert [chunk async for chunk in voice.stream("…")] == []
    await voice.close()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"model": "/nowhere"}, "no folder /nowhere"),
        ({"voice_wav": "/nowhere.wav"}, r"no voice at /nowhere\.wav"),
        ({"voice_wav": ""}, "brings no voice along"),
        ({"device": "cuda"}, "torch sees no GPU"),
    ],
)
def test_what_is_missing_is_said(
    settings: ChatterboxSettings, wrong: dict[str, Any], said: str
) -> None:
    import dataclasses

    import torch

    if wrong.get("device") == "cuda" and torch.cuda.is_available():
        return
    with pytest.raises(EngineError, match=said):
        ChatterboxModel(dataclasses.replace(settings, **wrong)).load()


def test_files_of_another_model_are_refused(settings: ChatterboxSettings, tmp_path: Path) -> None:
    import dataclasses

    for name in ("ve", "t3_cfg", "s3gen"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"no such thing")
    broken = dataclasses.replace(settings, model=str(tmp_path))
    with pytest.raises(EngineError, match="can't be loaded from"):
        ChatterboxModel(broken).load()


def test_a_blend_begins_with_the_old_and_ends_with_the_new() -> None:
    old, new = np.ones(FADE, np.float32), np.zeros(2 * FADE, np.float32)
    mixed = blended(old, new)
    assert mixed[0] == 1
    assert mixed[FADE - 1] == 0
    assert np.all(np.diff(mixed[:FADE]) <= 0)
