"""Was it meant? Stop words, voice and words against coughs, "mm-hm" and their like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.duplex import FullDuplex, HalfDuplex
from actors.evidence import BACKCHANNELS, Evidence, Verdict, is_backchannel, judge, says_stop

COMMIT_MS = 450


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (Evidence(0), "wait"),
        (Evidence(100, "stop"), "commit"),
        (Evidence(64, "please hold on a"), "commit"),
        (Evidence(64, "Stop!"), "commit"),
        (Evidence(64, "No, no."), "commit"),
        (Evidence(449), "wait"),
        (Evidence(450), "commit"),
        (Evidence(800, "mm-hm"), "wait"),
        (Evidence(800, "yeah okay", ended=True), "restore"),
        (Evidence(300, "Yeah.", ended=True), "restore"),
        (Evidence(199, "what about"), "wait"),
        (Evidence(200, "what about"), "commit"),
        (Evidence(300, "yeah but"), "commit"),
        (Evidence(180, ended=True), "restore"),
        (Evidence(180, "bicycle", ended=True), "restore"),
    ],
)
def test_verdicts(evidence: Evidence, verdict: Verdict) -> None:
    assert judge(evidence, COMMIT_MS) == verdict


def test_a_stop_word_is_a_whole_word() -> None:
    assert says_stop("no stop that")
    assert not says_stop("the unstoppable waiter")


@given(st.lists(st.sampled_from(sorted(BACKCHANNELS)), max_size=4), st.floats(0, 440))
def test_backchannels_never_take_the_floor(words: list[str], voiced_ms: float) -> None:
    text = " ".join(words)
    assert is_backchannel(text.upper())
    assert judge(Evidence(voiced_ms, text), COMMIT_MS) == "wait"
    assert judge(Evidence(voiced_ms, text, ended=True), COMMIT_MS) == "restore"


@given(st.floats(0, 2000), st.sampled_from(["", "mm hm", "stop", "what is this"]), st.booleans())
def test_more_voice_never_speaks_for_the_agent(voiced_ms: float, words: str, ended: bool) -> None:
    """Once committed, more of the same voice stays committed."""
    if judge(Evidence(voiced_ms, words, ended), COMMIT_MS) == "commit":
        assert judge(Evidence(voiced_ms + 100, words, ended), COMMIT_MS) == "commit"


def test_two_strategies() -> None:
    full, half = FullDuplex(COMMIT_MS), HalfDuplex()
    assert full.listens(agent_has_floor=True)
    assert not half.listens(agent_has_floor=True)
    assert half.listens(agent_has_floor=False)
    assert full.judge(Evidence(500)) == "commit"
    assert half.judge(Evidence(500, "stop")) == "wait"
    assert half.judge(Evidence(500, "stop", ended=True)) == "restore"
