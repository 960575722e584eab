"""Texts in any cut go into the splitter; speakable stretches come out, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.sentences import LONGEST, Splitter

TEXTS = st.text(alphabet=st.sampled_from('aBI 1.,;!?…"\n\u2019)Dr'), max_size=120) | st.text()


def split(deltas: list[str]) -> list[str]:
    splitter = Splitter()
    stretches = [stretch for delta in deltas for stretch in splitter.push(delta)]
    return stretches + splitter.flush()


@pytest.mark.parametrize(
    ("text", "stretches"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith is 3.14 m tall. Yes.", ["Dr. Smith is 3.14 m tall.", "Yes."]),
        ("J. Bach wrote it. So am I. Good.", ["J. Bach wrote it.", "So am I.", "Good."]),
        ("Fruit, e.g. apples. No. None.", ["Fruit, e.g. apples.", "No.", "None."]),
        ('He said "Go." Then he went.', ['He said "Go."', "Then he went."]),
        ("Well... let me see.", ["Well...", "let me see."]),
        ("1. Begin\n2. End", ["1. Begin", "2. End"]),
        ("Short, yes. But it goes on.", ["Short, yes.", "But it goes on."]),
        ("你好。再见。", ["你好。", "再见。"]),
        ("  \n\n ", []),
        ("", []),
    ],
)
def test_cuts_where_a_speaker_would_breathe(text: str, stretches: list[str]) -> None:
    assert split([text]) == stretches


def test_the_first_stretch_may_be_a_clause_and_later_ones_are_sentences() -> None:
    text = (
        "The keeper climbed all hundred steps, slowly, and lit the lamp. She sat down, tired of it."
    )
    assert split([text]) == [
        "The keeper climbed all hundred steps,",
        "slowly, and lit the lamp.",
        "She sat down, tired of it.",
    ]


def test_a_stretch_leaves_as_soon_as_its_end_is_certain() -> None:
    splitter = Splitter()
    assert splitter.push("Hello there.") == []
    assert splitter.push(" ") == ["Hello there."]
    assert splitter.push("It costs 3.") == []
    assert splitter.push("14 euros! ") == ["It costs 3.14 euros!"]
    assert splitter.flush() == []


def test_text_without_punctuation_is_cut_at_a_blank() -> None:
    stretches = split(["word " * 300])
    assert len(stretches) > 2
    assert all(LONGEST <= len(stretch) < LONGEST + 6 for stretch in stretches[:-1])


@given(TEXTS)
def test_nothing_is_lost_and_nothing_empty_leaves(text: str) -> None:
    stretches = split([text])
    assert "".join("".join(stretches).split()) == "".join(text.split())
    assert all(stretch and stretch == stretch.strip() for stretch in stretches)


@given(TEXTS, st.lists(st.integers(1, 9), max_size=40))
def test_the_cut_into_deltas_does_not_matter(text: str, sizes: list[int]) -> None:
    deltas, at = [], 0
    for size in sizes:
        deltas.append(text[at : at + size])
        at += size
    assert split([*deltas, text[at:]]) == split([text])
