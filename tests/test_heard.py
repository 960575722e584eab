"""What the caller heard: cut at the word, from the samples really played."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.heard import Voice
from schemas import Part, SpokenWords, Word


def spoken(sentence: int, first: int, *texts: str, rate: int = 1000) -> SpokenWords:
    """Words of 100 samples each."""
    words = tuple(
        Word(text, first + 100 * number, first + 100 * (number + 1))
        for number, text in enumerate(texts)
    )
    return SpokenWords(turn=1, sentence=sentence, text=" ".join(texts), words=words, rate=rate)


def voice() -> Voice:
    made = Voice(planned=[Part(0, "one two three."), Part(1, "four five.")])
    made.sentences += [spoken(1, 300, "four", "five."), spoken(0, 0, "one", "two", "three.")]
    return made


def test_a_word_counts_once_half_of_it_was_played() -> None:
    said = voice()
    said.played(149, 1000)
    assert said.heard() == "one"
    said.played(150, 1000)
    assert said.heard() == "one two"


def test_sentences_come_in_their_order_and_rates_may_differ() -> None:
    said = voice()
    said.played(8000 * 4 // 10, 8000)
    assert said.heard() == "one two three. four"
    assert said.answer == "one two three. four five."


@given(st.lists(st.integers(0, 600)))
def test_what_was_heard_only_grows_and_begins_like_the_answer(reports: list[int]) -> None:
    said = voice()
    before = ""
    for samples in reports:
        said.played(samples, 1000)
        assert said.heard().startswith(before)
        before = said.heard()
    assert said.answer.startswith(before)
    assert (before == said.answer) == (max(reports, default=0) >= 450)
