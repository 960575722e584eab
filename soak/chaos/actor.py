"""`python -m soak.chaos.actor NAME`: an actor as the fleet runs it, that can be told to fail.

The engines are the real ones, wrapped (soak/chaos/engines.py). `responder`: the embedded model server, on
its port whatever llm.url says: between it and llm stands a proxy that fails on order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from bus.settings import load
from soak.chaos.orders import Orders


def _hearing(orders: Orders) -> None:
    from actors import build
    from bus.settings import Settings
    from engines.protocols import Vad
    from soak.chaos.engines import FaultyVad

    real = build.vad

    def faulty(name: str, settings: Settings) -> Vad:
        return FaultyVad(real(name, settings), orders)

    build.vad = faulty


def _recognition(orders: Orders) -> None:
    from actors import build
    from bus.settings import Settings
    from engines.protocols import BatchStt, SttEngine
    from soak.chaos.engines import FaultyBatch, FaultyEngine, Notes

    notes = Notes(load().run_dir)
    live, batch = build.recogniser, build.batch_recogniser

    def faulty(name: str, settings: Settings) -> SttEngine:
        return FaultyEngine(live(name, settings), orders, notes)

    def faulty_batch(name: str, settings: Settings) -> BatchStt | None:
        inner = batch(name, settings)
        return inner and FaultyBatch(inner, orders, notes)

    build.recogniser = faulty
    build.batch_recogniser = faulty_batch


def _voice(orders: Orders) -> None:
    from actors import build
    from bus.settings import Settings
    from engines.protocols import Voice
    from soak.chaos.engines import FaultyVoice

    real = build.voice

    def faulty(engine: str, name: str, settings: Settings) -> Voice:
        return FaultyVoice(real(engine, name, settings), orders)

    build.voice = faulty


WRAP: dict[str, Callable[[Orders], None]] = {
    "audio_in": _hearing,
    "stt": _recognition,
    "tts": _voice,
}


def main(arguments: list[str]) -> int:
    """Listen for orders, put the engines in place, then be the actor."""
    name = arguments[0]
    if name == "responder":
        from ops.run_responder import serve

        serve(load().responder)
        return 0
    orders = Orders(load().run_dir, name)
    orders.replace()  # before anything takes os.write or time.time for itself
    orders.start()
    if wrap := WRAP.get(name):
        wrap(orders)
    from actors.__main__ import main as run_actor

    return run_actor(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
