"""Which engine an actor gets: settings go in, an actor comes out. Heavy imports stay inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from bus.endpoints import Endpoints
from bus.runtime import Actor, Context
from bus.settings import Settings
from engines.outside import outside
from engines.protocols import BatchStt, SttEngine, TurnListener, Vad, Voice

if TYPE_CHECKING:
    from engines.nemo_stack import NemoSettings
    from engines.stt_deepgram import DeepgramSettings

Build = Callable[[Settings, Context, Endpoints], Actor]


def _audio_in(settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.aside import Aside
    from actors.audio_in import AudioInActor
    from actors.caller_journal import CallerJournal
    from engines.floor import Floor

    journal = CallerJournal(settings.journal_dir, settings.journal)
    floor = Aside(Floor()) if settings.audio_in.floor_ms else None
    detector = vad(settings.audio_in.vad, settings)
    return AudioInActor(detector, settings.audio_in, journal, floor, _turn_listener(settings))


def _turn_listener(settings: Settings) -> TurnListener | None:
    if settings.turns.endpointing != "smart-turn":
        return None
    from engines.turn_smart import SmartTurn

    return SmartTurn()


def vad(name: str, settings: Settings) -> Vad:
    """`pysilero` (embedded), `silero-onnx` (for many calls) or another package's."""
    if name == "silero-onnx":
        from engines.vad_silero_onnx import SileroOnnxVad

        return SileroOnnxVad()
    if name == "pysilero":
        from engines.vad_silero import PysileroVad

        return PysileroVad()
    made: Vad = outside("vad", name, settings)
    return made


def _stt(settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.degraded import Allowance
    from actors.doors import Anyone
    from actors.evidence import SURE
    from actors.stream import Kit
    from actors.stt import SttActor

    stt = settings.stt
    engine = recogniser(stt.engine, settings)
    kit = Kit(
        engine,
        batch_recogniser(stt.batch_engine, settings),
        None,
        Anyone(),
        endpoint=stt.engine,
        stall_ms=stt.stall_ms,
        reopen_ms=stt.reopen_ms if stt.turn_bound else 0,
        batch_interval_s=stt.batch_interval_s,
        batch_wait_s=stt.batch_wait_s,
        allowance=Allowance(stt.batch_budget_s),
        sure_nats=SURE * settings.turns.floor_nats,
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


def batch_recogniser(name: str, settings: Settings) -> BatchStt | None:
    """`pocketsphinx` (embedded), `moonshine`, `nemo`, `deepgram` (remote), `none` or another package's."""
    if name == "none":
        return None
    if name == "nemo":
        from engines.batch_nemo import NemoBatch

        return NemoBatch(_nemo(settings))
    if name == "deepgram":
        from engines.batch_deepgram import DeepgramBatch

        return DeepgramBatch(_deepgram(settings), settings.deepgram.token.reveal())
    if name == "pocketsphinx":
        from engines.batch_process import ProcessBatch
        from engines.stt_pocketsphinx import POCKETSPHINX

        return ProcessBatch(POCKETSPHINX)
    if name == "moonshine":
        from engines.batch_process import ProcessBatch
        from engines.stt_moonshine import MOONSHINE

        return ProcessBatch(MOONSHINE)
    made: BatchStt = outside("batch", name, settings)
    return made


def recogniser(name: str, settings: Settings) -> SttEngine:
    """`pocketsphinx` (embedded), `moonshine`, `nemo`, `nemo-small`, `deepgram`, `null` or another's."""
    if name in ("nemo", "nemo-small"):
        from engines.nemo_stack import small
        from engines.stt_nemo import NemoEngine

        nemo = _nemo(settings)
        return NemoEngine(small(nemo) if name == "nemo-small" else nemo)
    if name == "null":
        from engines.stt_null import NullEngine

        return NullEngine()
    if name == "deepgram":
        from engines.stt_deepgram import DeepgramEngine

        return DeepgramEngine(_deepgram(settings), settings.deepgram.token.reveal())
    if name == "pocketsphinx":
        from engines.stt_pocketsphinx import PocketsphinxEngine

        return PocketsphinxEngine(settings.stt.partial_ms)
    if name == "moonshine":
        from engines.stt_moonshine import MoonshineEngine

        return MoonshineEngine(settings.stt.partial_ms)
    made: SttEngine = outside("stt", name, settings)
    return made


def _nemo(settings: Settings) -> NemoSettings:
    from engines.nemo_stack import NemoSettings

    return NemoSettings(**msgspec.structs.asdict(settings.nemo))


def _deepgram(settings: Settings) -> DeepgramSettings:
    from engines.stt_deepgram import DeepgramSettings

    deepgram = settings.deepgram
    return DeepgramSettings(
        url=deepgram.url,
        model=deepgram.model,
        language=deepgram.language,
        diarize=deepgram.diarize,
        connect_s=deepgram.connect_timeout_s,
        keep_alive_s=deepgram.keep_alive_s,
        finalize_wait_s=deepgram.finalize_wait_ms / 1000,
    )


def _turn_manager(settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.notebook import Notebook
    from actors.turn_manager import TurnManager

    notebook = Notebook(settings.run_dir / "calls.msgpack")
    return TurnManager(context, where, settings, notebook=notebook)


def _llm(settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.llm import Excuses, LlmActor
    from actors.toolbox import Toolbox
    from engines.llm_openai import ChatSettings, OpenAiChat
    from engines.tools import chosen

    llm, phrases = settings.llm, settings.phrases
    tools = chosen(settings)
    chats = {}
    for number, endpoint in enumerate(llm.endpoints):
        last = number == len(llm.endpoints) - 1
        chat = ChatSettings(
            url=endpoint.url,
            model=endpoint.model,
            connect_s=llm.connect_timeout_s,
            first_token_s=llm.first_token_timeout_s if last else llm.fallback_after_ms / 1000,
            between_tokens_s=llm.token_timeout_s,
            tools=tuple(tool.function for tool in tools.values()),
        )
        chats[endpoint.name] = OpenAiChat(chat, llm.key_of(number).reveal())
    longest_ms = 1000 * llm.first_token_timeout_s
    excuses = Excuses(phrases.trouble, phrases.apology, phrases.goodbye, llm.retry_ms, longest_ms)
    toolbox = Toolbox(tools, llm.tool_timeout_s)
    return LlmActor(chats, excuses, doors=(context, where), tools=toolbox)


def _tts(settings: Settings, context: Context, where: Endpoints) -> Actor:
    from actors.smoke import Phrase
    from actors.sound_check import Bounds
    from actors.tts import TtsActor

    tts = settings.tts
    bounds = Bounds(tts.smoke_least_ms, tts.smoke_most_ms, tts.smoke_level_dbfs)
    return TtsActor(
        voices_of(settings),
        tts.lead_s,
        tts.stall_ms,
        settings.phrases.apology,
        doors=(context, where),
        smoke=Phrase(tts.smoke, bounds, tts.smoke_quiet_ms) if tts.smoke else None,
    )


def voices_of(settings: Settings) -> dict[str, Voice]:
    """By endpoint, the preferred one first; each from the engine it names."""
    return {one.name: voice(one.engine, one.voice, settings) for one in settings.tts.voices}


def voice(engine: str, name: str, settings: Settings) -> Voice:
    """`espeak` (embedded), `chatterbox` or another package's; `name`: which of its voices."""
    if engine == "espeak":
        from engines.tts_espeak import EspeakVoice

        return EspeakVoice(name, words_per_minute=settings.tts.words_per_minute)
    if engine == "chatterbox":
        from engines.chatterbox_model import ChatterboxSettings
        from engines.tts_chatterbox import ChatterboxVoice

        return ChatterboxVoice(ChatterboxSettings(**msgspec.structs.asdict(settings.chatterbox)))
    made: Voice = outside("tts", engine, settings)
    return made


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
