"""Estimated word places: in order, all told, and near where espeak, which knows, has them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engines.pacing import Pace, Pacing
from engines.protocols import Spoken
from engines.tts_espeak import EspeakVoice

SENTENCES = (
    "Seven plus five is twelve.",
    "There are sixty minutes in an hour, and twenty four hours in a day.",
    "The keeper climbed the hundred steps of her lighthouse every evening.",
    "Well, that depends on the weather: if it rains, we stay at home.",
    "I can spell it for you, letter by letter, whenever you like.",
)
words = st.lists(st.text("abc,.", min_size=1, max_size=9), max_size=30)


@given(words, st.lists(st.integers(1, 30_000), max_size=20), st.floats(1, 5000))
def test_every_word_is_told_once_in_order(
    text: list[str], pieces: list[int], samples: float
) -> None:
    pacing, made, told = Pacing(" ".join(text), Pace(samples)), 0, list[Spoken]()
    for piece in pieces:
        made += piece
        new = pacing.until(made)
        assert all(word.start < made and word.end <= made for word in new)
        told += new
    told += pacing.rest(made)
    assert [word.text for word in told] == text
    edges = [edge for word in told for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= made for edge in edges), "half of each is heard when all was played"


@given(st.floats(100, 5000))
def test_a_pace_is_learnt(samples: float) -> None:
    pace = Pace(1000)
    for _ in range(30):
        pace.learn("four", round(5 * samples))
    assert abs(pace.samples - samples) < 1


async def test_how_good_the_estimate_is() -> None:
    """Of where each word begins, against espeak's own events; the pace learnt from the first sentences."""
    voice = EspeakVoice()
    await voice.load()
    pace, errors_ms = Pace(0.062 * voice.rate), list[float]()
    for sentence in SENTENCES * 2:
        chunks = [chunk async for chunk in voice.stream(sentence)]
        truth = [word for chunk in chunks for word in chunk.words]
        total = sum(len(chunk.pcm) for chunk in chunks) // 2
        pacing = Pacing(sentence, pace)
        guess = (*pacing.until(total), *pacing.rest(total))
        pace.learn(sentence, total)
        at = 0
        for word in truth:  # some short words go with the one before
            errors_ms.append(abs(guess[at].start - word.start) * 1000 / voice.rate)
            at += len(word.text.split())
    await voice.close()
    later = errors_ms[len(errors_ms) // 2 :]
    assert np.median(later) < 150
    assert np.percentile(later, 90) < 500
