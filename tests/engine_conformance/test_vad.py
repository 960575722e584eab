"""Any Vad: a probability for each 32 ms, the same however the sound is cut, each session by itself."""

from __future__ import annotations

import asyncio

import numpy as np

from engines.protocols import VadSession
from tests.engine_conformance.kit import VadCase, held

WINDOW_BYTES = 1024
GROWTH_MB = 20.0


async def heard(session: VadSession, pcm: bytes, packet: int = 640) -> list[float]:
    """In packets, others being heard in between."""
    found: list[float] = []
    for at in range(0, len(pcm), packet):
        found += session.push(pcm[at : at + packet])
        await asyncio.sleep(0)
    return found


async def test_speech_is_likely_and_silence_is_not(vad: VadCase) -> None:
    engine = vad.make()
    engine.load()
    speech = await heard(engine.open(), vad.speech)
    silence = await heard(engine.open(), bytes(len(vad.speech)))
    assert all(0 <= p <= 1 for p in speech + silence)
    assert len(speech) == len(vad.speech) // WINDOW_BYTES
    assert np.mean(np.array(speech) > 0.5) > 0.3
    assert max(silence[10:]) < 0.3


async def test_packets_of_any_length_change_nothing(vad: VadCase) -> None:
    engine = vad.make()
    engine.load()
    whole = await heard(engine.open(), vad.speech, len(vad.speech))
    for packet in (2, 640, 5000) if len(vad.speech) < 200_000 else (640,):
        assert np.allclose(await heard(engine.open(), vad.speech, packet), whole, atol=1e-3)


async def test_sessions_do_not_hear_each_other(vad: VadCase) -> None:
    engine = vad.make()
    engine.load()
    alone = await heard(engine.open(), vad.speech)
    both = await asyncio.gather(
        heard(engine.open(), vad.speech), heard(engine.open(), bytes(len(vad.speech)))
    )
    assert np.allclose(both[0], alone, atol=1e-3)


async def test_sessions_leave_nothing_behind(vad: VadCase) -> None:
    engine = vad.make()
    engine.load()
    for warm in (True, False):
        before = held()
        for _ in range(5 if warm else vad.cycles):
            await heard(engine.open(), vad.speech[: 8 * WINDOW_BYTES])
    after = held()
    assert (after.threads, after.files) == (before.threads, before.files)
    assert after.rss_mb - before.rss_mb < GROWTH_MB
