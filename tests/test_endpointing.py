"""How long a pause must last: by the words before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.endpointing import ENGLISH, ByWords, Ending, Fixed, Pause, Waits, ending
from actors.turn_rules import Conversation
from actors.turn_state import Rules
from schemas import SpeechContinued
from tests.talk import CALL, FULL, Step, ends, fin, goes, lull, on, part, play, sounds_done

ENDINGS: dict[Ending, tuple[str, ...]] = {
    "complete": (
        "what time is it",
        "tell me a long story",
        "no tell me what day it is today",
        "yes please",
        "no",
        "what is seven plus five",
        "I would like a table.",
        "what can you do",
        "who told you that",
        "i can't wait",
    ),
    "unfinished": (
        "um",
        "so um",
        "what is the",
        "tell me a story about",
        "i want a table for four and",
        "can you tell me",
        "excuse me could you tell me",
        "i called because",
        "what time is",
        "how many days are in",
        "how do you",
        "my brother,",
        "let me think...",
        "wait",
        "Hold on.",
        "okay wait a moment",
        "give me a second",
    ),
    "dictation": (
        "my number is five",
        "it is oh seven seven",
        "double two nine",
        "that is b r a",
        "four 5",
    ),
    "open": ("", "the blue one", "my dog is ill", "house", "on monday"),
}
CASES = [(words, kind) for kind, all_ in ENDINGS.items() for words in all_]


@pytest.mark.parametrize(("words", "kind"), CASES)
def test_how_words_end(words: str, kind: Ending) -> None:
    assert ending(words) == kind


def test_each_ending_has_its_wait() -> None:
    """The setting of that name, the last word in capitals or not."""
    by_words = ByWords(Waits(open=1, complete=2, unfinished=3, dictation=4))
    waits = [by_words.wait_ms(Pause(ENDINGS[kind][1].upper())) for kind in ENDINGS]
    assert waits == [2, 3, 4, 1]
    assert Fixed(7).wait_ms(Pause("what is the")) == 7


@given(st.text(), st.sampled_from(sorted(ENGLISH.leads_on)))
def test_nobody_stops_at_a_word_that_leads_on(text: str, last: str) -> None:
    assert ending(f"{text} {last}") in ("unfinished", "dictation")


def heard(words: str, end_ms: int = 400, final: bool = True) -> list[Step]:
    """An utterance whose last voiced sample is at `end_ms`; its end is told 250 ms later."""
    steps: list[Step] = [
        (0, on(0)),
        (end_ms + 250, ends(0, end_ms)),
        (end_ms + 250, part(0, words)),
    ]
    return [*steps, (end_ms + 260, fin(0, words))] if final else steps


@pytest.mark.parametrize(
    ("words", "wait_ms"),
    [("what time is it", 320), ("the blue one", 600), ("what is the", 1200), ("one two", 1000)],
)
def test_the_turn_begins_when_its_wait_is_over(words: str, wait_ms: int) -> None:
    rules = Rules()
    assert play(heard(words), 400 + wait_ms - 1, rules=rules) == []
    begun = play(heard(words), 400 + wait_ms, rules=rules)
    assert begun[0] == f"turn 1: {words}"


def test_final_words_that_say_more_than_the_partial_ones_change_the_wait() -> None:
    steps: list[Step] = [*heard("what is the", final=False), (1000, fin(0, "what is the time"))]
    assert play(steps, 1000, rules=Rules()) == [
        "turn 1: what is the time",
        "respond 1: what is the time",
    ]


def test_the_words_of_all_utterances_of_a_turn_count_together() -> None:
    """ "What is the" and, 700 ms later, "capital of France": one question, complete."""
    steps: list[Step] = [*heard("what is the"), (1100, on(1100)), (1950, ends(1100, 600))]
    steps += [(1960, fin(1100, "capital of france"))]
    assert play(steps, 2019, rules=Rules()) == []
    assert play(steps, 2020, rules=Rules())[0] == "turn 1: what is the capital of france"


def test_an_engine_of_ones_own_is_told_how_long_it_has_been_quiet() -> None:
    """The Protocol an acoustic engine would fulfil: asked at each step, with the silence so far."""

    class Listening:
        def __init__(self) -> None:
            self.asked: list[Pause] = []

        def wait_ms(self, pause: Pause) -> float:
            self.asked.append(pause)
            return 500

    engine = Listening()
    talk = Conversation(CALL, 0, FULL, Rules(), engine)
    talk.step(on(0), 0)
    talk.step(
        SpeechContinued(call=CALL, onset=0, end=11_200, voiced=8000, silent=3200), 700_000_000
    )
    talk.step(part(0, "what time"), 700_000_000)
    talk.step(ends(0, 500), 750_000_000)
    assert talk.deadline_ns == 1_000_000_000
    assert engine.asked[-1] == Pause("what time", 250.0, 500.0)


BY_SOUND = Rules(endpointing="smart-turn")


@pytest.mark.parametrize(
    ("words", "nats", "wait_ms"),
    [
        ("the blue one", 2.0, 320),
        ("what is the", 2.0, 320),
        ("what time is it", -2.0, 1200),
        ("what time is it", 0.0, 320),
        ("the blue one", 0.0, 600),
        ("one two", 2.0, 1000),
    ],
)
def test_the_sound_decides_where_somebody_has_listened_but_not_in_a_dictation(
    words: str, nats: float, wait_ms: int
) -> None:
    steps = heard(words)
    if nats:
        pause: list[Step] = [(500, lull(0, 400)), (540, sounds_done(0, 400, nats))]
        steps = [steps[0], *pause, *steps[1:]]
    assert play(steps, 400 + wait_ms - 1, rules=BY_SOUND) == []
    assert play(steps, 400 + wait_ms, rules=BY_SOUND)[0] == f"turn 1: {words}"


def test_an_answer_about_a_pause_that_is_over_counts_no_more() -> None:
    """He went on before it came: it is told of 400 ms of voice, there are 900."""
    late: list[Step] = [
        (0, on(0)),
        (900, goes(0, 900)),
        (910, sounds_done(0, 400, -3.0)),
        (1150, ends(0, 900)),
        (1160, fin(0, "what time is it")),
    ]
    assert play(late, 1220, rules=BY_SOUND)[0] == "turn 1: what time is it"
    early = [late[0], (500, lull(0, 400)), (540, sounds_done(0, 400, -3.0)), late[1], *late[3:]]
    assert play(early, 1220, rules=BY_SOUND)[0] == "turn 1: what time is it"
