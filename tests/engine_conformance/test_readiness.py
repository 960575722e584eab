"""Any SttEngine or Voice: before `load` it refuses with a reason, or serves; after it, it serves."""

from __future__ import annotations

from engines.protocols import EngineError, SttEngine
from tests.engine_conformance.kit import SttCase, TtsCase, finals, opened, utter
from tests.engine_conformance.test_tts import sound


async def heard(engine: SttEngine, pcm: bytes) -> str:
    async with opened(engine) as session:
        utter(session, 1, 0, pcm)
        return (await finals(session, 1))[0][0].text


async def test_a_recogniser_that_is_not_loaded_refuses_or_serves(stt: SttCase) -> None:
    (hello, words), _ = stt.said
    assert stt.fresh is not None, "a case says how to make an engine that is not loaded"
    async with stt.fresh() as engine:
        try:
            said = await heard(engine, hello)
        except EngineError as refused:
            said = str(refused) and words
        assert said == words
        await engine.load()
        assert await heard(engine, hello) == words


async def test_a_voice_that_is_not_loaded_refuses_or_serves(tts: TtsCase) -> None:
    assert tts.fresh is not None, "a case says how to make a voice that is not loaded"
    async with tts.fresh() as voice:
        early: bytes | str
        try:
            early = await sound(voice, tts.text)
        except EngineError as refused:
            early = str(refused)
        assert early
        await voice.load()
        first, second = await sound(voice, tts.text), await sound(voice, tts.text)
    assert (first == second) if tts.repeats else (0.5 < len(second) / len(first) < 2)
    if isinstance(early, bytes) and tts.repeats:
        assert early == first
