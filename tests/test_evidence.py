"""Was it meant? Words and voice against coughs, "mm-hm" and their like."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.duplex import FullDuplex, HalfDuplex
from actors.evidence import (
    ENGLISH,
    LONGEST,
    Evidence,
    Judge,
    Limits,
    Second,
    Verdict,
    is_backchannel,
    says_stop,
    weigh,
)

judge = Judge()
WORDS = st.lists(
    st.sampled_from(
        [*ENGLISH.stop, *ENGLISH.turning, *ENGLISH.backchannels, *ENGLISH.hollow, "bicycle"]
    ),
    max_size=5,
).map(" ".join)
EVIDENCE = st.builds(
    Evidence,
    voiced_ms=st.floats(0, 5000),
    words=WORDS,
    final=st.booleans(),
    ended_ms=st.none() | st.floats(0, 3000),
    second=st.none() | st.builds(Second, WORDS, st.floats(-200, 200)),
    awaited=st.booleans(),
    floor=st.just(0.0) | st.floats(-9, 9),
    murmur=st.booleans(),
    masked=st.booleans(),
    share=st.floats(0, 1),
)


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (Evidence(0), "wait"),
        (Evidence(199), "wait"),
        (Evidence(200), "hold"),
        (Evidence(100, "stop"), "commit"),
        (Evidence(64, "please hold on a"), "commit"),
        (Evidence(64, "Stop!"), "commit"),
        (Evidence(64, "No, no."), "commit"),
        (Evidence(400, "what"), "hold"),
        (Evidence(1399, "flip the coin"), "hold"),
        (Evidence(1400, "flip the"), "commit"),
        (Evidence(1400, "and then"), "commit"),
        (Evidence(1050, "mm hm"), "hold"),
        (Evidence(2249, "yeah okay right"), "hold"),
        (Evidence(2250, "yeah okay right"), "commit"),
        (Evidence(1499), "hold"),
        (Evidence(1500), "commit"),
        (Evidence(180, ended_ms=0), "restore"),
        (Evidence(400, ended_ms=100), "hold"),
        (Evidence(400, ended_ms=700), "restore"),
        (Evidence(600, ended_ms=699), "hold"),
        (Evidence(600, ended_ms=700), "commit"),
        (Evidence(700, final=True, ended_ms=0), "restore"),
    ],
)
def test_while_it_lasts_and_without_words(evidence: Evidence, verdict: Verdict) -> None:
    assert judge(evidence) == verdict


def over(voiced_ms: float, words: str, again: str | None = None, nats: float = 0.0) -> Evidence:
    """Its final words, and those of a second look if there was one."""
    second = None if again is None else Second(again, nats)
    return Evidence(voiced_ms, words, final=True, ended_ms=0, second=second)


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (over(352, "what"), "commit"),
        (over(286, "the vote"), "restore"),
        (over(530, "flip a coin"), "restore"),
        (over(550, "flip a coin"), "commit"),
        (over(451, "and then"), "restore"),
        (over(432, "goodbye"), "commit"),
        (over(980, "that's true"), "restore"),
        (over(900, "hm"), "restore"),
        (over(980, "hm"), "commit"),
    ],
)
def test_over_where_no_second_look_is_to_be_had(evidence: Evidence, verdict: Verdict) -> None:
    assert judge(evidence) == verdict


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        # over a telephone, in a room: what the first look made of it is nothing
        (over(250, "hah", "hold on", 30), "commit"),
        (replace(over(1050, "and then"), awaited=True), "commit"),
        (over(704, "oh no", "to on", -11), "commit"),
        (over(672, "not bad", "not bad", -40), "commit"),
        (over(448, "who are you", "who are you", 37), "commit"),
        # hollow words are what recognisers write for a hum; three of them are more than that
        (over(600, "you are you", "you are you", 30), "commit"),
        (over(600, "you are", "you are", 30), "restore"),
        # an opening of a question, though by its sound it is rather none
        (replace(over(512, "you are you", "so are you", 60), floor=-1.0), "commit"),
        (replace(over(512, "you are in", "so in you", 60), floor=-1.7), "restore"),
        # backchannels that one look, or both, misheard
        (over(576, "and cars", "and cars", -200), "restore"),
        (over(608, "go to", "god truth", -51), "restore"),
        (over(480, "but", "but the", 40), "restore"),
        (over(700, "hm", "that is true", 60), "restore"),
        (over(640, "", "mm", 80), "restore"),
        (over(400, "mm hm", "mm hm", 0), "restore"),
        # far nearer to a command than to a backchannel
        (over(510, "sigh", "slow", 0), "restore"),
        (over(510, "sigh", "slow", 80), "commit"),
    ],
)
def test_two_looks_at_a_short_word(evidence: Evidence, verdict: Verdict) -> None:
    assert judge(evidence) == verdict


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (Evidence(300, ended_ms=0, floor=4.0), "commit"),
        (Evidence(300, ended_ms=0, floor=3.9), "hold"),
        (Evidence(300, floor=9.0), "hold"),  # it lasts: nothing was asked yet
        (Evidence(96, ended_ms=0, floor=4.0), "commit"),
        (Evidence(96, ended_ms=0, floor=2.0), "wait"),  # for its words
        (Evidence(96, ended_ms=0, floor=1.9), "restore"),
        (Evidence(500, ended_ms=0, floor=-3.9), "hold"),
        (Evidence(500, ended_ms=0, floor=-4.0), "restore"),
        (Evidence(500, "of course", ended_ms=0, floor=9.0), "hold"),
        (replace(over(96, "hello", "", 0), floor=1.0), "restore"),
        (replace(over(96, "hello", "", 0), floor=2.9), "commit"),
        (replace(over(600, "oh god", "oh don't", -68), floor=0.5), "commit"),
        (replace(over(600, "oh god", "oh don't", -68), floor=0.4), "restore"),
        # "oh", "hm": written for what is not understood
        (replace(over(500, "oh", "hm", 0), floor=1.8), "commit"),
        (replace(over(500, "oh", "hm", 0), floor=0.5), "restore"),
        (replace(over(800, "of course", "of course", -140), floor=1.9), "restore"),
        (replace(over(704, "whoa", "wow", 0), floor=2.0), "commit"),  # "no no no", on a telephone
        (replace(over(700, "not bad", "not bad", -10), floor=-0.8), "commit"),
        (replace(over(700, "not bad", "not bad", -10), floor=-0.9), "restore"),
        (replace(over(300, "stop", "up", -90), floor=-9.0), "commit"),
        (replace(over(500, "why not", "why what", 79), floor=-2.0), "commit"),
        (replace(over(500, "why not", "why what", 79), floor=-2.2), "restore"),
        (Evidence(600, ended_ms=700, floor=-0.9), "commit"),
        (Evidence(600, ended_ms=700, floor=-1.0), "restore"),
        # more than a backchannel's voice, of which words were found
        (replace(over(1060, "that is the truth"), floor=-1.9), "commit"),
        (replace(over(1060, "and that is true"), floor=-3.0), "restore"),
    ],
)
def test_what_the_sound_alone_says(evidence: Evidence, verdict: Verdict) -> None:
    assert judge(evidence) == verdict


def test_its_own_echo_sounds_like_speech_and_is_none() -> None:
    echo = replace(over(500, "ten past", "ten past", 0), agent="it is ten past two", floor=9.0)
    assert judge(echo) == "restore"
    assert judge(replace(echo, final=False, stable="ten past", second=None)) == "hold"
    assert judge(replace(echo, agent="")) == "commit"


def test_a_second_look_is_waited_for_but_not_for_ever() -> None:
    due = replace(over(500, "goodbye"), awaited=True)
    assert judge(due) == "hold"
    assert judge(replace(due, words="stop")) == "commit"
    assert judge(replace(due, ended_ms=Limits().verdict_ms)) == "commit"


def test_what_the_agent_says_itself_is_no_interruption() -> None:
    agent = "Once upon a time there was a bicycle."
    assert judge(Evidence(1410, "there was a bicycle", agent=agent)) == "hold"
    assert judge(Evidence(1410, "there was one bicycle", agent=agent)) == "commit"
    assert judge(Evidence(1410, "bicycle", agent=agent)) == "commit"


def test_a_word_told_once_may_be_another_the_next_time() -> None:
    assert judge(Evidence(1410, "overall", stable="")) == "hold"
    assert judge(Evidence(1410, "overall we", stable="overall")) == "commit"
    assert judge(Evidence(100, "stop", stable="")) == "commit"


def test_a_voice_far_softer_than_the_caller_s_is_not_his() -> None:
    assert judge(Evidence(2000, "suddenly the bicycle", level_db=-23)) == "restore"
    assert judge(Evidence(2000, "suddenly the bicycle", level_db=-21)) == "commit"
    assert judge(Evidence(300, "stop", level_db=-23)) == "commit"  # it may still grow louder
    assert judge(Evidence(512, "wait", level_db=-23)) == "restore"  # words found in babble
    assert judge(replace(over(512, "wait"), level_db=-23, floor=0.1)) == "commit"


def test_the_softer_it_is_the_surer_it_must_be() -> None:
    """0.4 nats for each dB beyond 12: of what all of it says, and of the sound alone."""
    unsure = replace(over(600, "boom", "none"), floor=0.6)  # 0.8 nats more than it takes
    assert judge(replace(unsure, level_db=-13.9)) == "commit"
    assert judge(replace(unsure, level_db=-14.1)) == "restore"
    sound = Evidence(300, ended_ms=0, floor=4.3)
    assert judge(replace(sound, level_db=-12)) == "commit"
    assert judge(replace(sound, level_db=-13)) == "hold"  # for its words


def test_who_surely_wants_the_floor_may_be_softer() -> None:
    """Through a bad telephone, from across the room; but not from the next one."""
    far = replace(over(736, "wow", "were you now", 90), level_db=-23)
    assert judge(far) == "restore"
    assert judge(replace(far, floor=1.9)) == "restore"
    assert judge(replace(far, floor=5.0)) == "commit"
    assert judge(replace(far, floor=5.0, level_db=-34)) == "restore"
    lasting = Evidence(2000, "suddenly the bicycle", level_db=-23, lasting=3.0)
    assert judge(lasting) == "commit"


def test_many_voices_that_last_are_none() -> None:
    """What babble lasts for is as long as speech, and has words; its sound was asked while it lasted."""
    babble = Evidence(2000, "but it is a hell of a", lasting=2.9)
    assert judge(babble) == "restore"
    assert judge(replace(babble, final=True, ended_ms=0)) == "restore"
    assert judge(replace(babble, lasting=3.0)) == "commit"
    assert judge(replace(babble, lasting=0.0)) == "commit"
    assert judge(replace(babble, words="stop it")) == "commit"


def test_what_seems_a_murmur_by_its_level_is_a_voice_where_its_sound_is_sure() -> None:
    """A voice amid hiss, in a room, varies little in level."""
    murmur = Evidence(0, "how many days are in", ended_ms=0, murmur=True)
    assert judge(replace(murmur, floor=3.9)) == "restore"
    assert judge(replace(murmur, floor=4.0)) == "commit"
    assert judge(replace(murmur, floor=6.9, level_db=-20)) == "restore"
    assert judge(replace(murmur, words="stop it")) == "commit"


def test_who_was_drowned_out_was_behind_the_caller() -> None:
    """Words enough to interrupt, but a voice much louder has begun above them."""
    behind = Evidence(1500, "how many days are in", final=True, ended_ms=0)
    assert judge(behind) == "commit"
    assert judge(replace(behind, masked=True)) == "restore"
    assert judge(replace(behind, masked=True, words="stop it")) == "commit"


def test_what_is_heard_in_scraps_is_at_the_edge_of_what_can_be_heard() -> None:
    """People behind the caller, of whom the detector takes a third for speech: 0.38 of 1.09 s."""
    behind = Evidence(384, ended_ms=0, floor=6.9, level_db=-12.6)
    assert judge(replace(behind, share=0.4)) == "commit"
    assert judge(replace(behind, share=0.39)) == "restore"
    assert judge(replace(behind, share=0.39, ended_ms=None)) == "hold"
    assert judge(replace(behind, share=0.39, words="wait")) == "commit"


def test_a_soft_beginning_is_not_sent_away() -> None:
    """The first windows of "spell the word house" are 20 dB below its loudest one."""
    assert judge(Evidence(96, level_db=-30)) == "wait"
    assert judge(Evidence(300, level_db=-23)) == "hold"
    assert judge(Evidence(300, level_db=-23, ended_ms=1)) == "restore"


def test_a_stop_word_is_a_whole_word() -> None:
    assert says_stop("no stop that")
    assert not says_stop("the unstoppable waiter")


def test_phrases_are_backchannels_as_a_whole() -> None:
    assert is_backchannel("Of course, that's true.")
    assert not is_backchannel("of the course")
    assert weigh("of course the bicycle").content == 1


@given(st.lists(st.sampled_from(sorted(ENGLISH.backchannels)), max_size=4), st.floats(0, 790))
def test_backchannels_never_take_the_floor(words: list[str], voiced_ms: float) -> None:
    text = " ".join(words)
    assert is_backchannel(text.upper())
    assert judge(Evidence(voiced_ms, text)) in ("wait", "hold")
    assert judge(Evidence(voiced_ms, text, final=True, ended_ms=0)) == "restore"


@given(EVIDENCE)
def test_more_of_the_same_voice_stays_committed(evidence: Evidence) -> None:
    lasting = replace(evidence, ended_ms=None)
    if judge(lasting) == "commit":
        assert judge(replace(lasting, voiced_ms=evidence.voiced_ms + 100)) == "commit"


@given(EVIDENCE)
def test_nothing_stays_lowered_for_ever(evidence: Evidence) -> None:
    """Over for `verdict_ms`, or lasting for ever: then it is decided."""
    over = replace(evidence, ended_ms=Limits().verdict_ms)
    endless = Evidence(LONGEST * Limits().voice_ms, evidence.words)
    assert judge(over) in ("commit", "restore")
    assert judge(endless) == "commit"


def test_two_strategies() -> None:
    full, half = FullDuplex(judge), HalfDuplex()
    assert full.listens(agent_has_floor=True)
    assert not half.listens(agent_has_floor=True)
    assert half.listens(agent_has_floor=False)
    assert full.judge(Evidence(1500)) == "commit"
    assert half.judge(Evidence(500, "stop")) == "wait"
    assert half.judge(Evidence(500, "stop", ended_ms=0)) == "restore"
