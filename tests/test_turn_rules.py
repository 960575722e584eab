"""The rules of a conversation, scene by scene: what happens when, and what is ordered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actors.agent_side import INTERRUPTED
from actors.duplex import Duplex, HalfDuplex
from actors.turn_state import Rules
from schemas import (
    ActorBack,
    CallClosed,
    CancelCall,
    LlmFinished,
    Sentence,
    SpeechEnded,
)
from tests.talk import (
    ASKED,
    CALL,
    FULL,
    QUESTION,
    RULES,
    SPEAKING,
    Steps,
    Talk,
    ends,
    fin,
    finished,
    goes,
    on,
    over,
    part,
    play,
    says,
)
from tests.talk import played as line_played

WRITTEN = LlmFinished(call=CALL, turn=1, sentences=2, tokens=9)
THEN = Sentence(call=CALL, turn=1, index=1, text="and in tokyo ten past ten")


SCENES: dict[str, tuple[Steps, int, list[str]]] = {
    "a question is answered, and the answer heard": (
        [*SPEAKING, (1400, finished(1)), (1500, line_played(1, 500, ended=True))],
        1500,
        [*ASKED, "completed 1: it is ten past two"],
    ),
    "not before the endpoint wait": (QUESTION, 849, []),
    "the line never says that it has ended": (
        [*SPEAKING, (1400, finished(1))],
        1700,
        [*ASKED, "completed 1: it is"],
    ),
    "a caller who resumes extends the turn": (
        [*QUESTION, (800, on(800)), (1300, ends(800, 250)), (1400, fin(800, "in tokyo"))],
        2000,
        ["turn 1: how late is it in tokyo", "respond 1: how late is it in tokyo"],
    ),
    "late final words are waited for": (
        [(0, on(0)), (500, ends(0, 400)), (2000, fin(0, "how late is it"))],
        2000,
        ASKED,
    ),
    "final words that never come are given up for the partial ones": (
        [(0, on(0)), (300, part(0, "how late")), (500, ends(0, 400))],
        2500,
        ["turn 1: how late", "respond 1: how late"],
    ),
    "nothing understood is no turn": (
        [(0, on(0)), (500, ends(0, 400)), (600, fin(0, ""))],
        9000,
        [],
    ),
    "a very long utterance comes in several finals": (
        [
            (0, on(0)),
            (300, fin(0, "how late", more=True)),
            (500, ends(0, 400)),
            (900, fin(0, "is it")),
        ],
        900,
        ASKED,
    ),
    "voice takes the floor, the answer is cut at the word": (
        [*SPEAKING, *over(1150, 450, "and in tokyo"), (1610, line_played(1, 260, ended=True))],
        2300,
        [
            *ASKED,
            "stop 1",
            "interrupted 1: it is ten",
            "turn 2: and in tokyo",
            f"respond 2: how late is it | it is ten {INTERRUPTED} | and in tokyo",
        ],
    ),
    "the line does not say what it had played when it was cut": (
        [*SPEAKING, *over(1150, 450, "and in tokyo")],
        1900,
        [*ASKED, "stop 1", "interrupted 1: it is"],
    ),
    "a stop word takes it at once": (
        [*SPEAKING, (1150, on(1150)), (1200, part(1150, "stop"))],
        1200,
        [*ASKED, "stop 1"],
    ),
    "a backchannel is let pass": (
        [
            *SPEAKING,
            *over(1150, 300, "mm hm"),
            (1900, finished(1)),
            (2000, line_played(1, 500, True)),
        ],
        5000,
        [*ASKED, "restore 1", "completed 1: it is ten past two"],
    ),
    "a cough without words is let pass": (
        [*SPEAKING, *over(1150, 200, "")],
        5000,
        [*ASKED, "restore 1"],
    ),
    "people who talk far off are nobody, whatever they seem to say": (
        [
            *SPEAKING,
            (1150, on(1150)),
            (1200, part(1150, "and all")),
            (1400, SpeechEnded(call=CALL, onset=18_400, end=18_400, voiced=0, murmur=True)),
            (1450, fin(1150, "and all you can say")),
        ],
        5000,
        [*ASKED, "restore 1"],
    ),
    "one voice that varies as little as many do is one all the same, by its sound": (
        [
            *SPEAKING,
            (1150, on(1150)),
            (
                1400,
                SpeechEnded(call=CALL, onset=18_400, end=18_400, voiced=0, murmur=True, floor=4.0),
            ),
        ],
        1500,
        [*ASKED, "stop 1"],
    ),
    "words that come late still commit": (
        [*SPEAKING, *over(1150, 250, "hold on")],
        1700,
        [*ASKED, "restore 1", "stop 1"],
    ),
    "speech while the agent thinks supersedes, and both texts are answered": (
        [*QUESTION, *over(900, 450, "in tokyo")],
        2000,
        [
            *ASKED,
            "stop 1",
            "superseded 1: ",
            "turn 2: how late is it in tokyo",
            "respond 2: how late is it in tokyo",
        ],
    ),
    "a noise while the agent thinks does not lose the question": (
        [*QUESTION, *over(900, 450, "")],
        2000,
        [*ASKED, "stop 1", "superseded 1: ", "turn 2: how late is it", "respond 2: how late is it"],
    ),
    "an operator cancels": (
        [*SPEAKING, (1200, CancelCall(call=CALL)), (1210, CancelCall(call=CALL))],
        1500,
        [*ASKED, "stop 1", "interrupted 1: it is"],
    ),
    "an operator cancels while the agent thinks": (
        [*QUESTION, (900, CancelCall(call=CALL))],
        5000,
        [*ASKED, "stop 1", "interrupted 1: "],
    ),
    "a backchannel over the last words is no question": (
        [
            *SPEAKING,
            (1300, on(1300)),
            (1400, finished(1)),
            (1500, line_played(1, 500, ended=True)),
            (1550, goes(1300, 250)),
            (1800, ends(1300, 250)),
            (1850, fin(1300, "okay")),
        ],
        5000,
        [*ASKED, "completed 1: it is ten past two"],
    ),
    "no sound of an answer": (
        QUESTION,
        10_850,
        [*ASKED, "tripped no_answer", "stop 1", "failed 1: "],
    ),
    "the line reports, so that a long answer is not given up": (
        [*SPEAKING, (9000, line_played(1, 160)), (18_000, line_played(1, 170))],
        18_500,
        ASKED,
    ),
    "the call is closed in mid-answer": (
        [*SPEAKING, (1200, CallClosed(call=CALL, reason="hangup"))],
        60_000,
        [*ASKED, "interrupted 1: it is"],
    ),
    "a restarted model is asked again": (
        [*QUESTION, (900, ActorBack(call=CALL, actor="llm"))],
        1000,
        [*ASKED, "respond 1: how late is it"],
    ),
    "a model restarted in mid-answer is asked for the rest": (
        [*SPEAKING, (1200, ActorBack(call=CALL, actor="llm"))],
        1500,
        [*ASKED, "go on 1 after: it is ten past two"],
    ),
    "a model that had given all of it is asked for nothing": (
        [*SPEAKING, (1150, WRITTEN), (1200, ActorBack(call=CALL, actor="llm"))],
        1500,
        ASKED,
    ),
    "a voice restarted in mid-answer gets what it has not told of": (
        [*SPEAKING, (1150, THEN), (1160, WRITTEN), (1200, ActorBack(call=CALL, actor="tts"))],
        1500,
        [*ASKED, "resume 1 at 500 ms: and in tokyo ten past ten (last)"],
    ),
    "a voice that is restarted again and again ends its answer": (
        [*SPEAKING, *((1200 + n, ActorBack(call=CALL, actor="tts")) for n in range(3))],
        1600,
        [*ASKED, *["resume 1 at 500 ms: "] * 2, "stop 1", "failed 1: it is"],
    ),
    "a voice that had paced it all out is asked for nothing": (
        [*SPEAKING, (1200, finished(1)), (1210, ActorBack(call=CALL, actor="tts"))],
        1220,
        ASKED,
    ),
    "a cancelled turn is never taken up again": (
        [
            *SPEAKING,
            (1200, CancelCall(call=CALL)),
            *((1210, ActorBack(call=CALL, actor=actor)) for actor in ("llm", "tts", "playback")),
        ],
        1600,
        [*ASKED, "stop 1", "interrupted 1: it is"],
    ),
    "a restarted player ends its answer": (
        [*SPEAKING, (1200, ActorBack(call=CALL, actor="playback"))],
        1500,
        [*ASKED, "stop 1", "failed 1: it is"],
    ),
    "a restarted ear disturbs nothing": (
        [*SPEAKING, (1200, ActorBack(call=CALL, actor="audio_in"))],
        1500,
        ASKED,
    ),
}


@pytest.mark.parametrize("scene", SCENES)
def test_scene(scene: str) -> None:
    steps, until_ms, expected = SCENES[scene]
    assert play(steps, until_ms) == expected


@pytest.mark.parametrize(
    ("duplex", "expected"),
    [(FULL, [*ASKED, "stop 1"]), (HalfDuplex(), ASKED)],
    ids=["full", "half"],
)
def test_half_duplex_takes_no_notice_while_the_agent_has_the_floor(
    duplex: Duplex, expected: list[str]
) -> None:
    assert play([*SPEAKING, *over(1150, 600, "stop stop")], 1800, duplex)[:3] == expected


def test_half_duplex_hears_the_next_question() -> None:
    steps = [*SPEAKING, *over(1150, 600, "stop"), (2100, finished(1))]
    steps += [(2200, line_played(1, 500, ended=True)), *over(2300, 500, "and now")]
    *_, turn, _ = play(steps, 4000, HalfDuplex())
    assert turn == "turn 2: and now"


def test_a_backchannel_long_ago_does_not_cost_the_next_question() -> None:
    """The limit of a turn began with that "mm-hm" and was never taken back."""
    steps = [*SPEAKING, *over(1150, 300, "mm hm"), (1900, finished(1))]
    steps += over(62_000, 500, "and now")
    assert "turn 2: and now" in play(steps, 64_000)


def test_a_caller_without_end_is_answered_after_the_limit() -> None:
    steps: Steps = [(0, on(0)), (100, part(0, "on and on"))]
    assert play(steps, 60_000) == ["turn 1: on and on", "respond 1: on and on"]


def test_a_short_answer_wait_never_stops_a_turn_twice() -> None:
    rules = Rules(answer_wait_ms=100, endpointing="fixed")
    steps: Steps = [*QUESTION, (900, says(1, "yes")), (950, CancelCall(call=CALL))]
    steps += [(951, says(1, "late")), (960, line_played(1, 10))]
    assert play(steps, 3000, rules=rules).count("stop 1") == 1


def test_why_an_answer_is_missing_is_told() -> None:
    talk = Talk()
    talk.play(QUESTION)
    talk.tell(900, LlmFinished(call=CALL, turn=1, sentences=0, tokens=0, error="model is down"))
    talk.tell(20_000)
    assert "model is down" in repr(talk.effects[-1])


def test_a_greeting_can_be_talked_over() -> None:
    talk = Talk(turn_base=7)
    talk.effects += talk.rules.say("hello there", 0)
    talk.tell(10, *says(8, "hello there"))
    talk.tell(100, line_played(8, 90))
    talk.play(over(100, 500, "hello"))
    talk.tell(1300)
    assert talk.told == [
        "turn 8: ",
        "respond 8: hello there",
        "stop 8",
        "interrupted 8: hello",
        "turn 9: hello",
        f"respond 9: hello {INTERRUPTED} | hello",
    ]


def test_the_model_is_shown_the_prompt_and_the_last_of_the_history() -> None:
    talk = Talk(rules=replace(RULES, history=2))
    for number in range(1, 4):
        start = number * 10_000
        talk.play(over(start, 400, f"question {number}"))
        talk.tell(start + 2000, *says(number, f"answer {number}"), finished(number))
        talk.tell(start + 2200, line_played(number, 500, ended=True))
    contents = [message.content for message in talk.rules.messages]
    assert contents == [RULES.system_prompt, "question 3", "answer 3"]
