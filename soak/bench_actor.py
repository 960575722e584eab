"""`python -m soak.bench_actor NAME`: an actor as the fleet runs it, with a bench's engines in it.

BENCH_VARIANT chooses them: `idle` gives every actor nothing to do, any other a chat and a voice of
soak/bench_engines.py.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from actors.__main__ import main as run_actor
from actors.build import ACTORS
from bus.endpoints import Endpoints
from bus.runtime import Actor, Context, Emit
from bus.settings import Settings
from schemas import Event

IDLE = ("audio_in", "stt", "llm", "tts", "playback", "breaker")
"""All but turn_manager."""


class Idle:
    """An actor that hears nothing: what is left is the runtime."""

    hears: tuple[type[Event], ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    async def load(self) -> None:
        """There is no engine here."""

    async def react(self, event: Event, emit: Emit) -> None:
        """Nothing is heard."""

    async def close(self) -> None:
        """There is nothing to give back."""


def _idle(name: str, settings: Settings, context: Context, where: Endpoints) -> Actor:
    return Idle(name)


def _llm(variant: str, settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.llm import LlmActor
    from soak.bench_engines import chat

    return LlmActor(chat(variant))


def _tts(variant: str, settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.tts import TtsActor
    from soak.bench_engines import voice

    return TtsActor(voice(variant), settings.tts.lead_s)


def _stt(settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.stt import SttActor
    from soak.bench_engines import Parrot

    return SttActor(Parrot())


def main(arguments: list[str]) -> int:
    """Put the engines in place, then be the actor."""
    variant = os.environ.get("BENCH_VARIANT", "clean")
    if variant == "idle":
        ACTORS.update({name: partial(_idle, name) for name in IDLE})
    else:
        ACTORS["llm"], ACTORS["tts"] = partial(_llm, variant), partial(_tts, variant)
        ACTORS["stt"] = _stt
    return run_actor(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
