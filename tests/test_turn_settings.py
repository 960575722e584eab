"""What fleet.toml says of a conversation reaches its rules."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import msgspec
import pytest

from actors.duplex import FullDuplex, HalfDuplex
from actors.evidence import Limits
from actors.turn_settings import duplex, limits, rules
from actors.turn_state import Phrases
from bus.settings import Settings

DEFAULTS = Settings(home=Path())


def with_(section: str, **changes: object) -> Settings:
    """The defaults but for some keys of a section."""
    changed = msgspec.structs.replace(getattr(DEFAULTS, section), **changes)
    return msgspec.structs.replace(DEFAULTS, **{section: changed})


def test_the_rules_shipped_are_the_rules_tested() -> None:
    """The tests of the rules use `Limits()`."""
    assert limits(DEFAULTS) == Limits()


@pytest.mark.parametrize("name", [limit.name for limit in fields(Limits)])
def test_each_limit_is_a_setting(name: str) -> None:
    changed = getattr(DEFAULTS.turns, name) * 0.5
    assert getattr(limits(with_("turns", **{name: changed})), name) == changed


@pytest.mark.parametrize("name", [phrase.name for phrase in fields(Phrases)])
def test_each_phrase_is_a_setting(name: str) -> None:
    assert getattr(rules(with_("phrases", **{name: "Pardon?"})).phrases, name) == "Pardon?"


@pytest.mark.parametrize(
    ("section", "name", "value", "where", "becomes"),
    [
        ("turns", "endpoint_ms", 700, ("endpoints", "open"), 700),
        ("turns", "endpoint_complete_ms", 400, ("endpoints", "complete"), 400),
        ("turns", "endpoint_unfinished_ms", 1300, ("endpoints", "unfinished"), 1300),
        ("turns", "endpoint_dictation_ms", 1100, ("endpoints", "dictation"), 1100),
        ("turns", "endpointing", "fixed", ("endpointing",), "fixed"),
        ("audio_in", "hangover_ms", 280, ("hangover_ms",), 280),
        ("turns", "final_wait_ms", 900, ("final_wait_ms",), 900),
        ("turns", "max_turn_s", 9, ("max_turn_ms",), 9000),
        ("turns", "answer_wait_ms", 8000, ("answer_wait_ms",), 8000),
        ("turns", "system_prompt", "Be kind.", ("system_prompt",), "Be kind."),
        ("turns", "drafts", 1, ("drafts",), 1),
        ("turns", "resumptions", 7, ("resumptions",), 7),
        ("watch", "unheard_ms", 810, ("patience", "unheard_ms"), 810),
        ("watch", "no_words_s", 16, ("patience", "no_words_ms"), 16_000),
        ("watch", "voice_lost_ms", 2100, ("patience", "voice_lost_ms"), 2100),
        ("watch", "token_wait_ms", 3100, ("patience", "token_wait_ms"), 3100),
        ("watch", "voice_wait_ms", 5100, ("patience", "voice_wait_ms"), 5100),
        ("watch", "idle_s", 11, ("patience", "idle_ms"), 11_000),
        ("watch", "idle_prompts", 2, ("patience", "idle_prompts"), 2),
        ("watch", "hang_up", False, ("patience", "hang_up"), False),
    ],
)
def test_each_rule_is_a_setting(
    section: str, name: str, value: object, where: tuple[str, ...], becomes: object
) -> None:
    told: object = rules(with_(section, **{name: value}))
    shipped: object = rules(DEFAULTS)
    for step in where:
        told, shipped = getattr(told, step), getattr(shipped, step)
    assert told == becomes != shipped


def test_a_recogniser_that_hears_nothing_is_not_waited_for() -> None:
    deaf = limits(with_("stt", engine="null"))
    assert (deaf.verdict_ms, deaf.voice_ms) == (0, DEFAULTS.turns.long_ms)


def test_barge_in_may_be_switched_off() -> None:
    assert isinstance(duplex(DEFAULTS), FullDuplex)
    assert isinstance(duplex(with_("fleet", enable_barge_in=False)), HalfDuplex)
