"""The rules of a conversation, scene by scene: what happens when, and what is ordered."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.agent_side import INTERRUPTED
from actors.duplex import Duplex, FullDuplex, HalfDuplex
from actors.evidence import Judge
from actors.turn_rules import Conversation
from actors.turn_state import MS, Rules, Say
from schemas import (
    ActorBack,
    CallClosed,
    CancelCall,
    Duck,
    Event,
    Final,
    Hold,
    LlmFinished,
    PlaybackStarted,
    SecondLook,
    Sentence,
    SpeechEnded,
    TurnTick,
)
from tests.talk import (
    CALL,
    FULL,
    RULES,
    Step,
    Talk,
    ends,
    fin,
    finished,
    goes,
    on,
    part,
    play,
    says,
)
from tests.talk import played as line_played

Steps = list[Step]
QUESTION: Steps = [(0, on(0)), (500, ends(0, 400)), (600, fin(0, "how late is it"))]
"""Answered at 850: 600 ms of quiet, 250 of which were over when the end was noticed."""
ASKED = ["turn 1: how late is it", "respond 1: how late is it"]
SPEAKING: Steps = [*QUESTION, (900, says(1, "it is ten past two")), (1100, line_played(1, 150))]

WRITTEN = LlmFinished(call=CALL, turn=1, sentences=2, tokens=9)
THEN = Sentence(call=CALL, turn=1, index=1, text="and in tokyo ten past ten")


def over(onset_ms: int, voiced_ms: int, text: str) -> Steps:
    """Speech from `onset_ms` on, told as it goes on, ended 250 ms after its last sound."""
    told_at = range(onset_ms + 100, onset_ms + voiced_ms + 1, 50)
    steps: Steps = [(onset_ms, on(onset_ms))]
    steps += [(at, goes(onset_ms, at - onset_ms)) for at in told_at]
    end = onset_ms + voiced_ms + 250
    return [*steps, (end, ends(onset_ms, voiced_ms)), (end + 50, fin(onset_ms, text))]


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


def test_an_answer_that_begins_to_sound_under_a_long_voice_is_held_at_once() -> None:
    talk = Conversation(CALL, 0, FullDuplex(Judge()), RULES)
    steps: list[tuple[int, Event]] = [
        *((0, on(0)), (1000, ends(0, 1000)), (1010, fin(0, "how late is it"))),
        (2000, TurnTick(call=CALL)),
        *((3000, on(3000)), (3300, goes(3000, 300))),
        (3400, PlaybackStarted(call=CALL, turn=1)),
    ]
    said = [
        [e.event for e in talk.step(event, at * MS) if isinstance(e, Say)] for at, event in steps
    ]
    assert [type(event) for event in said[5]] == [Hold]
    assert [type(event) for event in said[6]] == [Duck, Hold]


def short_word(second_at: int, text: str, nats: float, since: int = 1200) -> Steps:
    """576 ms of voice over the agent, understood as "hm"; a second look comes at `second_at` ms."""
    end = since + 576
    look = SecondLook(call=CALL, utterance=since * 16, text=text, start=0, end=0, command_nats=nats)
    return [
        *SPEAKING,
        (since, on(since)),
        *((at, goes(since, at - since)) for at in range(since + 100, end, 100)),
        (end + 250, ends(since, 576)),
        (end + 260, Final(call=CALL, utterance=since * 16, text="hm", start=0, end=0, second=True)),
        (second_at, look),
    ]


def test_a_second_look_decides_and_its_words_are_the_question() -> None:
    told = play(short_word(2300, "never mind", 194), 6000, FullDuplex(Judge()))
    assert told == [
        *ASKED,
        "Hold",
        "stop 1",
        "interrupted 1: it is",
        "turn 2: never mind",
        "respond 2: how late is it | it is [interrupted by the caller] | never mind",
    ]


def test_a_second_look_may_say_that_nothing_was_meant() -> None:
    steps = short_word(2300, "mm hm", -20)
    assert play(steps, 3000, FullDuplex(Judge())) == [*ASKED, "Hold", "restore 1"]


def test_the_voice_is_not_restored_into_what_he_goes_on_to_say() -> None:
    """He says two things. The verdict on the first ("mm hm") comes when the second has begun."""
    steps: Steps = [*short_word(2300, "mm hm", -20), (2250, on(2250))]
    steps += [(2300 + 100 * n, goes(2250, 100 * n)) for n in range(1, 4)]
    told = play(steps, 2600, FullDuplex(Judge()))
    assert told == [*ASKED, "Hold", "Hold"]
    steps += [(2900, ends(2250, 300)), (2950, fin(2250, "yeah"))]
    assert play(steps, 6000, FullDuplex(Judge())) == [*ASKED, "Hold", "Hold", "restore 1"]


@given(
    st.lists(
        st.tuples(
            st.integers(70, 900),
            st.integers(260, 900),
            st.sampled_from(["mm hm", "", "hm", "okay"]),
            st.integers(0, 1500),
            st.booleans(),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_he_says_over_it_the_voice_is_held_for_nobody_in_the_end(
    said: list[tuple[int, int, str, int, bool]],
) -> None:
    """One utterance after another: voice and pause in ms, words, how late they and a second look are."""
    steps: Steps = [*SPEAKING]
    at = 1200
    for voiced, pause, words, late, second in said:
        steps.append((at, on(at)))
        steps += [(at + n, goes(at, n)) for n in range(64, voiced, 64)]
        end = at + voiced + 250
        steps.append((end, ends(at, voiced)))
        final = Final(call=CALL, utterance=at * 16, text=words, start=0, end=0, second=second)
        steps.append((end + late, final))
        at += voiced + pause
    told = play(steps, 20_000, FullDuplex(Judge()))
    marks = [mark for mark in told if mark.split()[0] in ("Hold", "restore", "stop")]
    assert not marks or marks[-1] != "Hold"


def test_a_second_look_that_is_late_finds_the_agent_speaking_and_still_counts() -> None:
    told = play(short_word(3300, "never mind", 194), 3400, FullDuplex(Judge()))
    assert told[:5] == [*ASKED, "Hold", "restore 1", "stop 1"]


def test_a_second_look_that_never_comes_holds_nothing_up() -> None:
    told = play(short_word(9000, "never mind", 194), 8999, FullDuplex(Judge()))
    assert told[:4] == [*ASKED, "Hold", "restore 1"]


@pytest.mark.parametrize(("look", "nats", "asks"), [("i've read", -40, False), ("stop", 60, True)])
def test_what_was_let_pass_is_no_question_when_the_answer_has_ended_meanwhile(
    look: str, nats: float, asks: bool
) -> None:
    """People behind him spoke over its last words; the second look comes when it is over."""
    said = Final(call=CALL, utterance=1200 * 16, text="i've", start=0, end=0, second=True)
    steps: Steps = [
        *SPEAKING,
        (1200, on(1200)),
        *((at, goes(1200, at - 1200)) for at in range(1300, 1500, 100)),
        (1738, ends(1200, 288)),
        (1800, said),
        (2500, finished(1)),
        (2700, line_played(1, 1600, ended=True)),
        (
            2800,
            SecondLook(call=CALL, utterance=19_200, text=look, start=0, end=0, command_nats=nats),
        ),
    ]
    told = play(steps, 9000, FullDuplex(Judge()))
    assert told[:4] == [*ASKED, "Hold", "restore 1"]
    assert [mark for mark in told if mark.startswith("turn 2")] == ["turn 2: i've"] * asks


@pytest.mark.parametrize(("voiced", "stops"), [(6400, True), (6300, False)])
def test_what_is_heard_in_scraps_does_not_interrupt(voiced: int, stops: bool) -> None:
    ended = SpeechEnded(call=CALL, onset=18_400, end=34_400, voiced=voiced, floor=6.9)
    steps: Steps = [*SPEAKING, (1150, on(1150)), (2400, ended)]
    assert ("stop 1" in play(steps, 2500, FullDuplex(Judge()))) is stops


def masked(onset_ms: float) -> SpeechEnded:
    onset = int(onset_ms * 16)
    return SpeechEnded(call=CALL, onset=onset, end=onset + 9600, voiced=9600, masked=True)


def test_people_behind_the_caller_end_where_he_begins_and_the_voice_stays_low() -> None:
    """One verdict for both: his."""
    steps: Steps = [
        *SPEAKING,
        *over(1150, 600, "the price of")[:-2],
        (1750, masked(1150)),
        (1750, on(1750)),
        *over(1750, 300, "mm hm")[1:],
    ]
    told = play(steps, 5000, FullDuplex(Judge()))
    assert told[:5] == [*ASKED, "Hold", "Hold", "restore 1"]
    assert "restore 1" not in play(steps[:-1], 2349, FullDuplex(Judge()))


@pytest.mark.parametrize("words_come", [True, False])
def test_a_voice_that_masked_another_and_is_never_heard_of_holds_nothing_up(
    words_come: bool,
) -> None:
    """audio_in died between the two."""
    steps: Steps = [*SPEAKING, *over(1150, 600, "the price of")[:-2], (1750, masked(1150))]
    steps += [(1800, fin(1150, "the price of"))] * words_come
    assert play(steps, 2000, FullDuplex(Judge())) == [*ASKED, "Hold"]
    assert play(steps, 2460, FullDuplex(Judge()))[:4] == [*ASKED, "Hold", "restore 1"]


def test_words_from_behind_the_caller_that_come_late_are_no_question() -> None:
    steps: Steps = [
        *SPEAKING,
        *over(1150, 600, "the price of")[:-2],
        (1750, masked(1150)),
        (1760, on(1750)),
        (2000, fin(1150, "the price of")),
        *over(1750, 300, "mm hm")[1:],
    ]
    told = play(steps, 9000, FullDuplex(Judge()))
    assert told[:5] == [*ASKED, "Hold", "Hold", "restore 1"]
    assert not [mark for mark in told if mark.startswith("turn 2")]


def test_who_is_drowned_out_in_his_own_turn_has_said_it_all_the_same() -> None:
    steps: Steps = [
        (0, on(0)),
        (500, masked(0)),
        (500, on(500)),
        (560, fin(0, "how late")),
        (1000, ends(500, 300)),
        (1050, fin(500, "is it")),
    ]
    assert play(steps, 3000)[:1] == ["turn 1: how late is it"]
