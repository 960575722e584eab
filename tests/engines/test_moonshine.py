"""Moonshine as `make engine-moonshine` installs it: the wheel's own model, on shipped callers."""

from __future__ import annotations

import numpy as np
import pytest

from actors import build
from bus.settings import load
from engines.moonshine_child import Listener, plain
from engines.moonshine_model import Moonshine
from soak import caller_set

RATE = 16_000


@pytest.fixture(scope="module")
def model() -> Moonshine:
    return Moonshine()


def test_most_questions_are_understood_to_the_word(model: Moonshine) -> None:
    """Diphone voices, that were chosen because pocketsphinx understands them: 17 of 24 on 2026-11-28."""
    clips = caller_set.find("question")
    right = [clip.text for clip in clips if plain(model(clip.pcm()).text) == clip.text]
    assert len(right) >= len(clips) * 2 // 3


def test_equal_sound_is_equal_text_and_too_little_is_none(model: Moonshine) -> None:
    pcm = caller_set.find("question")[0].pcm()
    assert model(pcm) == model(pcm)
    assert model(pcm).sure <= 0
    assert model(pcm[:3000]).text == ""
    assert model(b"").text == ""


def test_noises_are_no_words(model: Moonshine) -> None:
    rng = np.random.default_rng(7)
    hiss = (rng.standard_normal(2 * RATE) * 300).astype(np.int16).tobytes()
    for pcm in (bytes(2 * RATE), hiss, *(clip.pcm() for clip in caller_set.find("noise"))):
        listener = Listener(model, 3600 * RATE)
        listener.begin(1, 0)
        list(listener.feed(pcm))
        assert listener.finish().text in ("", "mm-hmm")


async def test_a_recording_of_half_a_minute_is_transcribed_in_pieces() -> None:
    settings = load()
    batch = build.batch_recogniser("moonshine", settings)
    assert batch is not None
    await batch.load()
    clips = [clip for clip in caller_set.find("question") if clip.text == "what time is it"] * 5
    sound = b"".join(clip.pcm() + bytes(2 * RATE // 2) for clip in clips)
    assert len(sound) > 2 * 20 * RATE
    whole = await batch.transcribe(sound, 5000)
    assert whole.text.split().count("time") >= len(clips) * 3 // 4
    edges = [edge for word in whole.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert 5000 <= edges[0] < edges[-1] <= 5000 + len(sound) // 2
    await batch.close()
