"""What is said over the agent, scene by scene: held, committed, let pass; amid others, looked at twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from actors.duplex import FullDuplex
from actors.evidence import Judge
from actors.turn_rules import Conversation
from actors.turn_state import MS, Say
from schemas import (
    Duck,
    Event,
    Final,
    Hold,
    PlaybackStarted,
    SecondLook,
    SpeechContinued,
    SpeechEnded,
    TurnTick,
)
from tests.talk import (
    ASKED,
    CALL,
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


@pytest.mark.parametrize(
    ("answers", "yields_at"),
    [([9.0], [2500]), ([-4.0, 5.5, 2.0, 5.5, 0.7], []), ([-4.0, 5.5, 4.5], [4500])],
)
def test_who_was_taken_for_several_is_one_voice_when_its_sound_says_so_twice(
    answers: list[float], yields_at: list[int]
) -> None:
    """Babble that lasts sounds like one voice now and then; asked once a second."""
    talk, yielded = Talk(FullDuplex(Judge())), []
    talk.play([*SPEAKING, (1200, on(1200))])
    for second, nats in enumerate(answers):
        asked = goes(1200, 1300 + 1000 * second)
        assert isinstance(asked, SpeechContinued)
        at = 2500 + 1000 * second
        talk.tell(at, structs.replace(asked, floor=nats), goes(1200, at - 1100))
        talk.tell(at, part(1200, "what a lot"), part(1200, "what a lot"))
        yielded += [at] if "stop 1" in talk.told else []
    assert yielded[:1] == yields_at


def test_one_soft_question_does_not_let_people_behind_him_be_taken_for_the_caller() -> None:
    """He asks at -14 dBFS, interrupts at -22; then babble at -40 seems a murmur, and surely one voice."""

    def loud(event: Event, dbfs: float) -> Event:
        return structs.replace(event, level_dbfs=dbfs)

    talk = Talk(FullDuplex(Judge()))
    talk.play([(0, loud(on(0), -14.0)), (500, ends(0, 400)), (600, fin(0, "how late is it"))])
    talk.play([(900, says(1, "it is ten past two")), (1100, line_played(1, 150))])
    talk.play(
        [
            (1200, loud(on(1200), -22.0)),
            (1500, loud(goes(1200, 300), -24.0)),
            (1550, fin(1200, "stop")),
        ]
    )
    talk.play(
        [(1700, ends(1200, 300)), (2600, says(2, "what is it then")), (2800, line_played(2, 150))]
    )
    assert talk.told[2:7] == [
        "Hold",
        "stop 1",
        "interrupted 1: it is",
        "turn 2: stop",
        talk.told[6],
    ]
    murmur = structs.replace(ends(3000, 0), floor=6.9, murmur=True)
    talk.play([(3000, loud(on(3000), -40.0)), (4000, part(3000, "but i am")), (4001, murmur)])
    talk.play(
        [
            (5000, line_played(2, 2000)),
            (9000, finished(2)),
            (9010, line_played(2, 9000, ended=True)),
        ]
    )
    assert talk.told[7:] == ["restore 2", "completed 2: what is it then"]
