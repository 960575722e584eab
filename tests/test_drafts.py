"""Answers begun before it is sure that the caller is done: they become the turn, or leave no trace."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actors.turn_state import Rules
from schemas import ActorBack, CallClosed, LlmFinished, Sentence
from tests.talk import (
    CALL,
    RULES,
    Step,
    Talk,
    ends,
    fin,
    finished,
    goes,
    lull,
    on,
    part,
    play,
    played,
    says,
)

Steps = list[Step]
DRAFTS = replace(RULES, drafts=3)
PAUSES: Steps = [(0, on(0)), (500, lull(0, 400)), (570, part(0, "how late is it", settled=True))]
"""A settled guess 170 ms into the pause; the wait of 600 ms is over at 1000."""
DRAFT = "draft 1: how late is it"
TURN = "turn 1: how late is it"
DONE: Steps = [*PAUSES, (650, ends(0, 400)), (655, fin(0, "how late is it"))]

SCENES: dict[str, tuple[Steps, int, list[str]]] = {
    "the model is asked in the pause, the turn begins when it is sure": (DONE, 999, [DRAFT]),
    "then nothing is asked again": (DONE, 1000, [DRAFT, TURN]),
    "final words without a lull begin a draft too": (
        [(0, on(0)), (650, ends(0, 400)), (700, fin(0, "how late is it"))],
        1000,
        [DRAFT, TURN],
    ),
    "words that may still change begin none": (
        [(0, on(0)), (500, lull(0, 400)), (570, part(0, "how late is it"))],
        640,
        [],
    ),
    "a caller who goes on in the same breath cancels it": (
        [
            *PAUSES,
            (700, goes(0, 600)),
            (1100, part(0, "how late is it in tokyo", settled=True)),
            (1200, ends(0, 800)),
            (1205, fin(0, "how late is it in tokyo")),
        ],
        2000,
        [DRAFT, "stop 1", "draft 2: how late is it in tokyo", "turn 2: how late is it in tokyo"],
    ),
    "one who begins anew within the wait, too: one question, one answer": (
        [*DONE, (900, on(900)), (1400, ends(900, 250)), (1410, fin(900, "in tokyo"))],
        3000,
        [DRAFT, "stop 1", "draft 2: how late is it in tokyo", "turn 2: how late is it in tokyo"],
    ),
    "a cough in the wait costs a draft, not the question": (
        [*DONE, (900, on(900)), (1250, ends(900, 100)), (1260, fin(900, ""))],
        3000,
        [DRAFT, "stop 1", "draft 2: how late is it", "turn 2: how late is it"],
    ),
    "final words that differ are the question": (
        [*PAUSES, (650, ends(0, 400)), (655, fin(0, "how late was it"))],
        1000,
        [DRAFT, "stop 1", "draft 2: how late was it", "turn 2: how late was it"],
    ),
    "spelling is no difference": (
        [*PAUSES, (650, ends(0, 400)), (655, fin(0, "How late is it?"))],
        1000,
        [DRAFT, "turn 1: How late is it?"],
    ),
    "a restarted model is asked anew": (
        [*DONE, (700, ActorBack(call=CALL, actor="llm"))],
        1000,
        [DRAFT, "stop 1", "draft 2: how late is it", "turn 2: how late is it"],
    ),
    "the call ends before it was sure": (
        [*DONE, (700, CallClosed(call=CALL, reason="hangup"))],
        9000,
        [DRAFT],
    ),
}


@pytest.mark.parametrize("scene", SCENES)
def test_scene(scene: str) -> None:
    steps, until_ms, expected = SCENES[scene]
    assert play(steps, until_ms, rules=DRAFTS) == expected


def test_words_that_lead_on_begin_none() -> None:
    steps: Steps = [(0, on(0)), (500, lull(0, 400))]
    steps += [(570, part(0, "how late is it and", settled=True))]
    assert play(steps, 640, rules=Rules(drafts=3)) == []


def test_a_setting_switches_it_off() -> None:
    assert play(DONE, 1000) == [TURN, "respond 1: how late is it"]


def test_so_many_per_turn_and_no_more() -> None:
    """Whoever stammers costs the model three requests, not thirty."""
    steps: Steps = [(0, on(0))]
    for number in range(6):
        steps += [(500 * number + 400, lull(0, 300 * number + 200))]
        steps += [(500 * number + 410, part(0, f"how late {number}", settled=True))]
    told = play(steps, 3000, rules=DRAFTS)
    assert [word for word in told if word.startswith("draft")] == [
        f"draft {number + 1}: how late {number}" for number in range(3)
    ]
    assert told.count("stop 3") == 1


def test_what_a_draft_was_to_say_belongs_to_its_turn_alone() -> None:
    """History and `heard` hold nothing of a draft that was cancelled."""
    talk = Talk(rules=DRAFTS)
    talk.play(PAUSES)
    sentence, words, _ = says(1, "ten past two")
    talk.tell(600, sentence, words, LlmFinished(call=CALL, turn=1, sentences=1, tokens=3))
    talk.tell(700, goes(0, 600), ends(0, 700))
    talk.tell(1000, fin(0, "how late is it in tokyo"))
    talk.tell(1005, Sentence(call=CALL, turn=1, index=1, text="too late"))
    talk.tell(2000, *says(2, "nine"), finished(2), played(2, 200, ended=True))
    assert [message.content for message in talk.rules.messages[1:]] == [
        "how late is it in tokyo",
        "nine",
    ]
    assert talk.told[-1] == "completed 2: nine"


def test_an_answer_that_is_ready_before_the_turn_is_sure_is_heard_whole() -> None:
    talk = Talk(rules=DRAFTS)
    talk.play(DONE)
    sentence, words, started = says(1, "ten past two")
    talk.tell(700, sentence, words)
    talk.tell(1000)
    talk.tell(1005, started, finished(1), played(1, 400, ended=True))
    assert talk.told == [DRAFT, TURN, "completed 1: ten past two"]


def test_a_successor_cancels_the_draft_of_a_crashed_manager() -> None:
    """Nobody else knows of it: playback would hold it for ever."""
    talk = Talk(rules=DRAFTS)
    talk.play(DONE)
    memory = talk.rules.memory()
    again = Talk(rules=DRAFTS)
    again.effects += again.rules.recall(memory, 0)
    assert again.told == ["stop 1"]
    again.tell(100, on(100), ends(100, 300), fin(100, "again"))
    again.tell(2000)
    assert again.told[-1].startswith("turn 2")


def test_a_cut_in_before_a_word_was_heard_is_no_answer() -> None:
    """The agent had begun its first word when the caller went on: the two are one question."""
    talk = Talk(rules=Rules(endpointing="fixed", drafts=3))
    talk.play(DONE)
    talk.tell(1005, *says(1, "ten past two"))
    talk.tell(1010, on(1010))
    talk.tell(1050, part(1010, "stop"), played(1, 30, ended=True))
    talk.tell(1500, ends(1010, 240), fin(1010, "in tokyo"))
    talk.tell(3000)
    assert talk.told[2:] == [
        "stop 1",
        "superseded 1: ",
        "draft 2: how late is it in tokyo",
        "turn 2: how late is it in tokyo",
    ]


def cut_in(words: str) -> list[str]:
    """The agent has said two words when the caller, 500 ms after his question, says some more."""
    talk = Talk(rules=Rules(drafts=3))  # "how late is it" is complete: 320 ms
    talk.play(DONE)
    talk.tell(730, *says(1, "ten past two"))
    talk.tell(900, on(900))
    talk.tell(1360, goes(900, 450))
    talk.tell(1370, played(1, 240, ended=True))
    talk.tell(1900, ends(900, 700), fin(900, words))
    talk.tell(4000)
    return talk.told[2:]


def test_who_was_cut_in_on_has_asked_one_question() -> None:
    """Within turns.endpoint_ms of his last word he was not done: nothing is answered twice."""
    assert cut_in("and in tokyo")[:4] == [
        "stop 1",
        "superseded 1: ten past",
        "draft 2: how late is it and in tokyo",
        "turn 2: how late is it and in tokyo",
    ]


def test_unless_he_takes_it_back() -> None:
    assert cut_in("wait what day is it today")[-1] == "turn 2: wait what day is it today"


def test_a_turn_that_was_a_draft_is_no_draft_when_it_is_asked_again() -> None:
    steps: Steps = [*DONE, (1100, ActorBack(call=CALL, actor="llm"))]
    assert play(steps, 1200, rules=DRAFTS) == [DRAFT, TURN, "respond 1: how late is it"]
