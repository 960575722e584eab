"""Was it meant? Words and voice against coughs, "mm-hm" and their like."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.duplex import FullDuplex, HalfDuplex
from actors.evidence import (
    BASE_MS,
    ENGLISH,
    MOST_WORDS,
    WORD_MS,
    Evidence,
    Judge,
    Limits,
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
        (Evidence(300, "what"), "hold"),
        (Evidence(400, "what"), "commit"),
        (Evidence(250, "what", final=True, ended_ms=0), "commit"),
        (Evidence(500, "the vote"), "hold"),
        (Evidence(286, "the vote", final=True, ended_ms=0), "restore"),
        (Evidence(650, "flip the"), "commit"),
        (Evidence(451, "and then", final=True, ended_ms=10), "restore"),
        (Evidence(900, "and then"), "commit"),
        (Evidence(790, "hm"), "hold"),
        (Evidence(832, "hm", final=True, ended_ms=0), "commit"),
        (Evidence(1000, "mm-hm"), "hold"),
        (Evidence(1000, "yeah okay", final=True, ended_ms=0), "restore"),
        (Evidence(432, "goodbye", final=True, ended_ms=0), "commit"),
        (Evidence(780, "that's true", final=True, ended_ms=0), "restore"),
        (Evidence(660, "okay but the bicycle"), "commit"),
        (Evidence(1500, "yeah okay right"), "commit"),
        (Evidence(1233), "hold"),
        (Evidence(1500), "commit"),
        (Evidence(180, ended_ms=0), "restore"),
        (Evidence(400, ended_ms=100), "hold"),
        (Evidence(400, ended_ms=500), "restore"),
        (Evidence(700, ended_ms=499), "hold"),
        (Evidence(700, ended_ms=500), "commit"),
        (Evidence(700, final=True, ended_ms=500), "restore"),
    ],
)
def test_verdicts(evidence: Evidence, verdict: Verdict) -> None:
    assert judge(evidence) == verdict


def test_what_the_agent_says_itself_is_no_interruption() -> None:
    agent = "Once upon a time there was a bicycle."
    assert judge(Evidence(720, "there was a bicycle", agent=agent)) == "hold"
    assert judge(Evidence(720, "there was one bicycle", agent=agent)) == "commit"
    assert judge(Evidence(720, "bicycle", agent=agent)) == "commit"


def test_a_word_told_once_may_be_another_the_next_time() -> None:
    assert judge(Evidence(660, "overall", stable="")) == "hold"
    assert judge(Evidence(660, "overall we", stable="overall")) == "commit"
    assert judge(Evidence(100, "stop", stable="")) == "commit"


def test_a_voice_far_softer_than_the_caller_s_is_not_his() -> None:
    assert judge(Evidence(2000, "suddenly the bicycle", level_db=-21)) == "restore"
    assert judge(Evidence(2000, "suddenly the bicycle", level_db=-19)) == "commit"
    assert judge(Evidence(300, "stop", level_db=-21)) == "commit"


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
    if judge(evidence) == "commit":
        more = Evidence(evidence.voiced_ms + 100, evidence.words, final=evidence.final)
        assert judge(more) == "commit" or evidence.final


@given(EVIDENCE)
def test_nothing_stays_lowered_for_ever(evidence: Evidence) -> None:
    """Over for `verdict_ms`, or lasting for ever: then it is decided."""
    over = replace(evidence, ended_ms=Limits().verdict_ms)
    endless = Evidence(BASE_MS + WORD_MS * MOST_WORDS, evidence.words)
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
