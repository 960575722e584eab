"""Which engine an actor gets: settings go in, an actor comes out. Heavy imports stay inside."""

from __future__ import annotations

from collections.abc import Callable

from bus.endpoints import Endpoints
from bus.runtime import Actor, Context
from bus.settings import Settings
from engines.protocols import BatchStt, SttEngine, Vad

Build = Callable[[Settings, Context, Endpoints], Actor]


def _audio_in(settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.audio_in import AudioInActor
    from actors.caller_journal import CallerJournal

    journal = CallerJournal(settings.journal_dir, settings.journal)
    return AudioInActor(vad(settings.audio_in.vad), settings.audio_in, journal)


def vad(name: str) -> Vad:
    """`pysilero` (embedded, 1 ms per 32 ms window) or `silero-onnx` (0.1 ms, for many calls)."""
    if name == "silero-onnx":
        from engines.vad_silero_onnx import SileroOnnxVad

        return SileroOnnxVad()
    from engines.vad_silero import PysileroVad

    return PysileroVad()


def _stt(settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.degraded import Allowance
    from actors.doors import Anyone
    from actors.stream import Kit
    from actors.stt import SttActor

    stt = settings.stt
    engine = recogniser(stt.engine, stt.partial_ms)
    kit = Kit(
        engine,
        batch_recogniser(stt.batch_engine),
        None,
        Anyone(),
        endpoint=stt.engine,
        stall_ms=stt.stall_ms,
        batch_interval_s=stt.batch_interval_s,
        allowance=Allowance(stt.batch_budget_s),
    )
    return SttActor(
        engine,
        stt.preroll_ms,
        stt.max_utterance_s,
        settings.audio_in.lull_ms,
        settings.stt.second_look_ms,
        kit,
        settings.transcript_dir,
        doors=(context, where),
    )


def batch_recogniser(name: str) -> BatchStt | None:
    """`pocketsphinx` (embedded) or `none`."""
    if name == "none":
        return None
    from engines.batch_pocketsphinx import PocketsphinxBatch

    return PocketsphinxBatch()


def recogniser(name: str, partial_ms: int) -> SttEngine:
    """`pocketsphinx` (embedded) or `null` (understands nothing)."""
    if name == "null":
        from engines.stt_null import NullEngine

        return NullEngine()
    from engines.stt_pocketsphinx import PocketsphinxEngine

    return PocketsphinxEngine(partial_ms)


def _turn_manager(settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.notebook import Notebook
    from actors.turn_manager import TurnManager

    notebook = Notebook(settings.run_dir / "calls.msgpack")
    return TurnManager(context, where, settings, notebook=notebook)


def _llm(settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.llm import LlmActor
    from engines.llm_openai import ChatSettings, OpenAiChat

    llm = settings.llm
    chat = ChatSettings(
        url=llm.url,
        model=llm.model,
        connect_s=llm.connect_timeout_s,
        first_token_s=llm.first_token_timeout_s,
        between_tokens_s=llm.token_timeout_s,
    )
    return LlmActor(OpenAiChat(chat, llm.api_key.reveal()))


def _tts(settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.tts import TtsActor
    from engines.tts_espeak import EspeakVoice

    tts = settings.tts
    voice = EspeakVoice(tts.voice, words_per_minute=tts.words_per_minute)
    return TtsActor(voice, tts.lead_s)


def _playback(settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.playback import PlaybackActor

    playback = settings.playback
    return PlaybackActor(
        playback.frame_ms,
        playback.duck_db,
        playback.ramp_ms,
        ducks=settings.fleet.enable_barge_in,
        trial_ms=settings.audio_in.trial_ms,
    )


def _breaker(settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.breaker import BreakerActor

    return BreakerActor(settings.breaker.failure_threshold, settings.breaker.reset_timeout_s)


ACTORS: dict[str, Build] = {
    "audio_in": _audio_in,
    "stt": _stt,
    "turn_manager": _turn_manager,
    "llm": _llm,
    "tts": _tts,
    "playback": _playback,
    "breaker": _breaker,
}

AFTER: dict[str, tuple[str, ...]] = {"stt": ("llm",), "tts": ("stt",)}
"""Who waits for whose readiness when a fleet starts: large models go first, one at a time."""
