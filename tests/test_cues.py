"""Cues: what `--at` understands, and when it is due."""

from __future__ import annotations

import pytest

from ops.cues import BadCue, Cue, Watch, parse


@pytest.mark.parametrize(
    ("text", "cue"),
    [
        ("agent speaks 2 s", Cue("speaks", 2.0)),
        ("Agent silent 500ms", Cue("silent", 0.5)),
        (" 12.5 s ", Cue("clock", 12.5)),
    ],
)
def test_what_is_understood(text: str, cue: Cue) -> None:
    assert parse(text) == cue


@pytest.mark.parametrize("text", ["", "agent speaks", "2 minutes", "agent sings 2 s", "-1 s"])
def test_what_is_not_understood_names_the_forms(text: str) -> None:
    with pytest.raises(BadCue, match="agent speaks 2 s"):
        parse(text)


def test_cues_count_from_the_agents_voice_after_the_caller_last_spoke() -> None:
    watch = Watch(now_s=3.0, caller_until_s=1.0, agent_began_s=0.5)
    assert not watch.due(Cue("speaks", 1.0))
    watch.agent_began_s = 2.0
    assert watch.due(Cue("speaks", 1.0))
    assert not watch.due(Cue("silent", 0.0))
    watch.agent_ended_s = 1.5  # of an answer before
    assert not watch.due(Cue("silent", 0.0))
    watch.agent_ended_s = 2.5
    assert watch.due(Cue("silent", 0.5))
    assert watch.due(Cue("clock", 3.0))


def test_an_answer_that_was_talked_over_but_finished_counts_as_silence() -> None:
    """Half duplex: the caller spoke in the middle, the agent went on to its end."""
    watch = Watch(now_s=9.0, caller_until_s=5.0, agent_began_s=3.0, agent_ended_s=8.0)
    assert watch.due(Cue("silent", 1.0))
    assert not watch.due(Cue("speaks", 1.0))
