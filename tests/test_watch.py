"""Nothing stays stuck, and nobody is met with silence: watchdogs, the idle caller, notices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actors.duplex import HalfDuplex
from actors.turn_state import Patience, Phrases
from schemas import ActorBack, CallOpened, LlmFinished, Sentence, SpokenWords, Word
from tests.talk import (
    CALL,
    RULES,
    SPEAKING,
    Step,
    Talk,
    ends,
    fin,
    finished,
    goes,
    on,
    over,
    part,
    play,
    played,
    says,
)

Steps = list[Step]
PATIENCE = Patience(
    unheard_ms=800,
    no_words_ms=5000,
    voice_lost_ms=2000,
    token_wait_ms=1500,
    voice_wait_ms=3000,
)
PHRASES = Phrases("pardon", "one moment", "something is wrong", "hello?", "goodbye")
WATCHED = replace(RULES, patience=PATIENCE, phrases=PHRASES)
QUESTION: Steps = [(0, on(0)), (500, ends(0, 400)), (600, fin(0, "how late is it"))]
ASKED = ["turn 1: how late is it", "respond 1: how late is it"]


def voice(onset_ms: int, ms: int) -> Steps:
    """The reports of a voice that goes on for so long."""
    return [(onset_ms + at, goes(onset_ms, at)) for at in range(100, ms + 1, 100)]


def sentence(turn: int, text: str) -> Sentence:
    """Said by the model, not heard yet."""
    return Sentence(call=CALL, turn=turn, index=0, text=text)


SCENES: dict[str, tuple[Steps, int, list[str]]] = {
    "long speech of which nothing was understood": (
        [(0, on(0)), *voice(0, 900), (1150, ends(0, 900)), (1200, fin(0, ""))],
        1600,
        ["tripped no_words", "turn 1: ", "respond 1: pardon"],
    ),
    "a cough is not answered": (
        [(0, on(0)), (550, ends(0, 300)), (600, fin(0, ""))],
        9000,
        [],
    ),
    "a noise that goes on and on is not talked to for ever": (
        [
            *[(0, on(0)), *voice(0, 900), (1150, ends(0, 900)), (1200, fin(0, ""))],
            (1550, says(1, "pardon")),
            (1560, finished(1)),
            (1600, played(1, 200, ended=True)),
            *[(2000, on(2000)), *voice(2000, 900), (3150, ends(2000, 900)), (3200, fin(2000, ""))],
        ],
        9000,
        [
            *["tripped no_words", "turn 1: ", "respond 1: pardon"],
            *["completed 1: pardon", "tripped no_words"],
        ],
    ),
    "who interrupts is heard out, however short it was and however little was understood": (
        [*SPEAKING, *over(1200, 500, "")],
        4000,
        [
            *[*ASKED, "stop 1", "interrupted 1: it is"],
            *["tripped no_words", "turn 2: ", "respond 2: pardon"],
        ],
    ),
    "speech without end and without a word": (
        [(0, on(0)), *voice(0, 6000)],
        6000,
        ["tripped no_words", "turn 1: ", "respond 1: pardon"],
    ),
    "an ear that dies in mid-word: the end is assumed": (
        [(0, on(0)), (200, goes(0, 200)), (300, part(0, "how late"))],
        # news at 200, 2000 ms without any; then 2000 ms for the final words
        4200,
        ["tripped no_end", "turn 1: how late", "respond 1: how late"],
    ),
    "a model that does not begin is excused, once": (
        QUESTION,
        4000,
        [*ASKED, "tripped no_tokens", "interject 1: one moment"],
    ),
    "and apologised for when it never does": (
        [*QUESTION, (2400, says(1, "one moment")[1:]), (2600, played(1, 200))],
        12_700,
        [
            *[*ASKED, "tripped no_tokens", "interject 1: one moment"],
            *["tripped no_answer", "stop 1", "failed 1: one moment"],
            *["turn 2: ", "respond 2: something is wrong"],
        ],
    ),
    "a voice that makes no sound ends the turn, and is not asked to apologise": (
        [*QUESTION, (900, sentence(1, "ten past two"))],
        30_000,
        [*ASKED, "tripped no_audio", "stop 1", "failed 1: "],
    ),
    "an answer without a word is no answer": (
        [
            *QUESTION,
            (900, LlmFinished(call=CALL, turn=1, sentences=0, tokens=0)),
            (950, finished(1)),
        ],
        1300,
        [*ASKED, "failed 1: ", "turn 2: ", "respond 2: something is wrong"],
    ),
    "a restarted player is apologised for": (
        [
            *QUESTION,
            (900, says(1, "ten past two")),
            (1000, played(1, 100)),
            (1100, ActorBack(call=CALL, actor="playback")),
        ],
        1500,
        [
            *[*ASKED, "stop 1", "failed 1: ten"],
            *["turn 2: ", "respond 2: something is wrong"],
        ],
    ),
    "a healthy answer trips nothing": (
        [
            *QUESTION,
            (1000, says(1, "ten past two")),
            (1300, finished(1)),
            (1400, played(1, 400, ended=True)),
        ],
        60_000,
        [*ASKED, "completed 1: ten past two"],
    ),
}


@pytest.mark.parametrize("scene", SCENES)
def test_scene(scene: str) -> None:
    steps, until_ms, expected = SCENES[scene]
    assert play(steps, until_ms, rules=WATCHED) == expected


def test_an_apology_that_fails_is_not_apologised_for() -> None:
    told = play([*QUESTION, (900, finished(1))], 90_000, rules=WATCHED)
    assert [word for word in told if word.startswith("respond")] == [
        "respond 1: how late is it",
        "respond 2: something is wrong",
    ]


# -- the idle caller -----------------------------------------------------------------------------

IDLE = replace(WATCHED, patience=replace(PATIENCE, idle_ms=10_000))
OPENED: Steps = [(0, CallOpened(call=CALL, line="test"))]


def spoken(turn: int, at_ms: int, text: str) -> Steps:
    """All of it is heard within 500 ms."""
    ended = played(turn, 100 * len(text.split()), ended=True)
    return [(at_ms, says(turn, text)), (at_ms + 400, finished(turn)), (at_ms + 500, ended)]


def test_an_idle_caller_is_asked_then_taken_leave_of() -> None:
    steps = [*OPENED, *spoken(1, 10_100, "hello?"), *spoken(2, 20_700, "goodbye")]
    assert play(OPENED, 10_000, rules=IDLE) == ["turn 1: ", "respond 1: hello?"]
    assert play(steps, 90_000, rules=IDLE) == [
        *["turn 1: ", "respond 1: hello?", "completed 1: hello?"],
        *["turn 2: ", "respond 2: goodbye", "completed 2: goodbye", "hang up"],
    ]


def test_the_end_can_be_switched_off() -> None:
    rules = replace(IDLE, patience=replace(IDLE.patience, hang_up=False))
    told = play([*OPENED, *spoken(1, 10_100, "hello?")], 90_000, rules=rules)
    assert told == ["turn 1: ", "respond 1: hello?", "completed 1: hello?"]


def test_nobody_is_asked_who_speaks_or_is_spoken_to() -> None:
    """Idle counts from the end of the agent's answer, and of the caller's words."""
    steps = [*OPENED, (9000, on(9000)), *voice(9000, 3000), (12_250, ends(9000, 3000))]
    steps += [(12_300, fin(9000, "a long question")), *spoken(1, 13_000, "a long answer")]
    steps += [(20_000, played(1, 300))]
    assert "respond 2: hello?" not in play(steps, 23_400, rules=IDLE)
    assert "respond 2: hello?" in play(steps, 23_500, rules=IDLE)


def test_who_answers_the_goodbye_is_not_hung_up_on() -> None:
    steps = [*OPENED, *spoken(1, 10_100, "hello?"), (20_700, says(2, "goodbye"))]
    steps += [(20_750, on(20_750)), (20_800, part(20_750, "wait")), (20_810, played(2, 60, True))]
    steps += [(21_300, ends(20_750, 300)), (21_350, fin(20_750, "wait i am here"))]
    told = play([*steps, *spoken(3, 22_000, "good")], 30_000, rules=IDLE)
    assert "hang up" not in told
    assert told[-1] == "completed 3: good"
    assert "respond 4: hello?" in play([*steps, *spoken(3, 22_000, "good")], 33_000, rules=IDLE)


# -- what must be heard whole --------------------------------------------------------------------

NOTICE = "this call is recorded"


def notice(turn: int = 1) -> Steps:
    """400 ms of notice, then 300 ms that may be talked over."""
    _, words, started = says(turn, NOTICE)
    more = SpokenWords(
        call=CALL,
        turn=turn,
        sentence=1,
        text="how are you",
        words=tuple(
            Word(text, 6400 + 1600 * number, 8000 + 1600 * number)
            for number, text in enumerate(("how", "are", "you"))
        ),
        rate=16_000,
    )
    flagged = Sentence(call=CALL, turn=turn, index=0, text=NOTICE, notice=True)
    rest = Sentence(call=CALL, turn=turn, index=1, text="how are you")
    return [(10, [flagged, words, rest, more, started])]


def test_the_words_over_a_notice_are_the_next_turn() -> None:
    talk = Talk(rules=WATCHED)
    talk.effects += talk.rules.say(f"<notice>{NOTICE}</notice> how are you", 0)
    talk.play(notice())
    talk.tell(50, on(50))
    talk.tell(100, played(1, 90), part(50, "stop"), goes(50, 100))
    talk.tell(300, played(1, 290), goes(50, 250))
    assert talk.told == [
        "turn 1: ",
        f"respond 1: <notice>{NOTICE}</notice> how are you",
    ]
    talk.tell(410, played(1, 400))
    assert talk.told[2:] == ["stop 1"]
    talk.tell(420, played(1, 405, ended=True))
    talk.tell(900, ends(50, 600), fin(50, "stop i have a question"))
    talk.tell(1600)
    assert talk.told[3:] == [
        f"interrupted 1: {NOTICE}",
        "turn 2: stop i have a question",
        f"respond 2: {NOTICE} [interrupted by the caller] | stop i have a question",
    ]


def test_who_has_fallen_silent_before_the_notice_ends_is_answered_after_it() -> None:
    """The wait is over, the words are there, and still the notice is heard to its end."""
    talk = Talk(rules=replace(RULES, endpoints=replace(RULES.endpoints, open=100)))
    talk.effects += talk.rules.say(NOTICE, 0)
    _, words, started = says(1, NOTICE)
    talk.tell(5, Sentence(call=CALL, turn=1, index=0, text=NOTICE, notice=True), words, started)
    talk.tell(10, on(10))
    talk.tell(270, ends(10, 250), fin(10, "who are you"))
    talk.tell(300, played(1, 300))
    talk.tell(390, finished(1))
    assert len(talk.told) == 2
    talk.tell(500, played(1, 480, ended=True))
    assert talk.told[2:] == [
        f"completed 1: {NOTICE}",
        "turn 2: who are you",
        f"respond 2: {NOTICE} | who are you",
    ]


def test_half_duplex_hears_nobody_in_a_notice_either() -> None:
    talk = Talk(HalfDuplex(), rules=WATCHED)
    talk.effects += talk.rules.say(NOTICE, 0)
    talk.play(notice())
    talk.tell(50, on(50), part(50, "stop"), goes(50, 700))
    talk.tell(410, played(1, 400))
    talk.tell(800, ends(50, 700), fin(50, "stop"), finished(1), played(1, 700, ended=True))
    assert talk.told[2:] == [f"completed 1: {NOTICE} how are you"]


def test_a_question_that_comes_first_is_answered_instead_of_an_apology() -> None:
    """playback is restarted just when the caller, who spoke over it, is done."""
    talk = Talk(rules=WATCHED)
    talk.play([*QUESTION, (900, says(1, "ten past two")), (1000, played(1, 100))])
    talk.tell(1010, on(1010))
    talk.tell(1400, ends(1010, 140))
    talk.tell(1450, ActorBack(call=CALL, actor="playback"))
    talk.tell(1740, fin(1010, "and in tokyo"))
    talk.tell(1800)
    assert talk.told[2:] == [
        "restore 1",
        "stop 1",
        "failed 1: ten",
        "turn 2: and in tokyo",
        "respond 2: how late is it | ten | and in tokyo",
    ]


def test_a_noise_over_the_answer_trips_nothing_until_the_answer_has_ended() -> None:
    """Judged by the duplex rules; its 5 s without a word count from the end of the answer."""
    talk = Talk(rules=WATCHED)
    talk.play([*QUESTION, (900, says(1, "ten past two"))])
    talk.tell(1000, on(1000), part(1000, "mm hm"))
    for at in range(1100, 12_000, 100):
        talk.tell(at, goes(1000, 100), part(1000, ""), played(1, at - 900))
    assert talk.told == ASKED
    talk.tell(12_000, finished(1), played(1, 12_000, ended=True))
    for at in range(12_100, 17_000, 100):
        talk.tell(at, goes(1000, 100))
    assert talk.told[2:] == ["completed 1: ten past two"]
    talk.tell(17_000, goes(1000, 100))
    assert talk.told[3:] == ["tripped no_words", "turn 2: ", "respond 2: pardon"]
