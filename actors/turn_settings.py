"""The rules of a conversation as fleet.toml sets them."""

from __future__ import annotations

from dataclasses import fields

import msgspec

from actors.duplex import Duplex, FullDuplex, HalfDuplex
from actors.endpointing import Waits
from actors.evidence import Judge, Limits
from actors.turn_state import Patience, Phrases, Rules
from bus.sections import Watch
from bus.settings import Settings


def rules(settings: Settings) -> Rules:
    """What every conversation goes by."""
    turns = settings.turns
    return Rules(
        endpoints=Waits(
            open=turns.endpoint_ms,
            complete=turns.endpoint_complete_ms,
            unfinished=turns.endpoint_unfinished_ms,
            dictation=turns.endpoint_dictation_ms,
        ),
        endpointing=turns.endpointing,
        hangover_ms=settings.audio_in.hangover_ms,
        final_wait_ms=turns.final_wait_ms,
        max_turn_ms=turns.max_turn_s * 1000,
        answer_wait_ms=turns.answer_wait_ms,
        system_prompt=turns.system_prompt,
        drafts=turns.drafts,
        resumptions=turns.resumptions,
        patience=_patience(settings.watch),
        phrases=_phrases(settings),
    )


def duplex(settings: Settings) -> Duplex:
    """Whether the caller may talk over the agent, and what it takes."""
    return FullDuplex(Judge(limits(settings))) if settings.fleet.enable_barge_in else HalfDuplex()


def limits(settings: Settings) -> Limits:
    """`[turns]`, by the same names. For a recogniser that hears nothing nobody waits: the voice decides."""
    turns = msgspec.structs.asdict(settings.turns)
    wanted = {limit.name: turns[limit.name] for limit in fields(Limits)}
    if settings.stt.engine == "null":
        wanted |= {"voice_ms": wanted["long_ms"], "verdict_ms": 0}
    return Limits(**wanted)


def _patience(watch: Watch) -> Patience:
    return Patience(
        unheard_ms=watch.unheard_ms,
        no_words_ms=watch.no_words_s * 1000,
        voice_lost_ms=watch.voice_lost_ms,
        token_wait_ms=watch.token_wait_ms,
        voice_wait_ms=watch.voice_wait_ms,
        idle_ms=watch.idle_s * 1000,
        idle_prompts=watch.idle_prompts,
        hang_up=watch.hang_up,
    )


def _phrases(settings: Settings) -> Phrases:
    """Those that turn_manager has said."""
    told = msgspec.structs.asdict(settings.phrases)
    return Phrases(**{phrase.name: told[phrase.name] for phrase in fields(Phrases)})
