"""What config/fleet.toml may hold: a struct a section, each key with its unit, range and default."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

Milliseconds = Annotated[int, Meta(ge=1, le=600_000)]
Seconds = Annotated[float, Meta(gt=0.0, le=3600.0)]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Decibels = Annotated[float, Meta(ge=-120.0, le=0.0)]
Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]
Profile = Annotated[str, Meta(pattern="^([a-z][a-z0-9_-]*)?$")]
Text = Annotated[str, Meta(max_length=8000)]
NonEmpty = Annotated[str, Meta(min_length=1, max_length=300)]

SYSTEM_PROMPT = (
    "You are a friendly voice assistant on a telephone line. Give short spoken answers of one to "
    "three sentences, without lists, markup or emoji. Where a message of yours ends in [interrupted by "
    "the caller], he heard it up to there and no further."
)


class Secret:
    """A string that never shows itself: not in repr, logs or flags."""

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself, for the one header that needs it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(set)" if self._value else "Secret(empty)"


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of fleet.toml. Units and ranges are explained there, beside each value."""


class Fleet(Section, frozen=True):
    """Who runs, and how they report. `profile`: the name of a file that goes over this one."""

    profile: Profile = ""
    roster: Annotated[tuple[Name, ...], Meta(min_length=1)] = (
        "audio_in",
        "stt",
        "turn_manager",
        "llm",
        "tts",
        "playback",
        "breaker",
    )
    heartbeat_ms: Annotated[int, Meta(ge=50, le=10_000)] = 500
    enable_barge_in: bool = True
    start_wait_s: Annotated[float, Meta(ge=1.0, le=600.0)] = 20.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Bus(Section, frozen=True):
    """High-water marks (messages per side) and the largest frame taken (bytes)."""

    events_hwm: Annotated[int, Meta(ge=1000, le=10_000_000)] = 100_000
    media_hwm: Annotated[int, Meta(ge=10, le=1_000_000)] = 2000
    max_frame_bytes: Annotated[int, Meta(ge=4096, le=16_777_216)] = 262_144


class CancelRound(Section, frozen=True):
    """The clock of a CANCEL round, ms since the broadcast.

    Where the model's cancel floor was measured, `load` puts floor + `over_floor_ms` for `release_ms`.
    """

    resend_ms: Annotated[int, Meta(ge=5, le=1000)] = 20
    stuck_ms: Annotated[int, Meta(ge=20, le=10_000)] = 250
    release_ms: Annotated[int, Meta(ge=50, le=60_000)] = 1000
    over_floor_ms: Annotated[int, Meta(ge=0, le=60_000)] = 500


class AudioIn(Section, frozen=True):
    """Voice activity detection and the watch over the line."""

    vad: NonEmpty = "pysilero"
    threshold: Probability = 0.5
    release_threshold: Probability = 0.35
    onset_ms: Annotated[int, Meta(ge=32, le=1000)] = 64
    hangover_ms: Annotated[int, Meta(ge=32, le=5000)] = 250
    min_level_dbfs: Decibels = -55.0
    lull_ms: Annotated[int, Meta(ge=32, le=1000)] = 96
    rise_db: Annotated[float, Meta(ge=3.0, le=60.0)] = 12.0
    trial_ms: Annotated[int, Meta(ge=64, le=2000)] = 250
    above_db: Annotated[float, Meta(ge=0.0, le=40.0)] = 6.0
    murmur_ms: Annotated[int, Meta(ge=320, le=10_000)] = 1024
    murmur_db: Annotated[float, Meta(ge=0.0, le=40.0)] = 9.0
    murmur_probability: Probability = 0.9
    unsure_speech: Probability = 0.25
    stands_out_db: Annotated[float, Meta(ge=0.0, le=100.0)] = 12.0
    over_ms: Annotated[int, Meta(ge=32, le=832)] = 256
    over_db: Annotated[float, Meta(ge=0.0, le=100.0)] = 9.0
    floor_ms: Annotated[int, Meta(ge=0, le=1500)] = 1500
    lasting_ms: Annotated[int, Meta(ge=320, le=10_000)] = 1300
    lasting_db: Annotated[float, Meta(ge=0.0, le=100.0)] = 14.0
    noisy_db: Annotated[float, Meta(ge=0.0, le=100.0)] = 25.0
    line_lost_ms: Annotated[int, Meta(ge=500, le=600_000)] = 5000


class Journal(Section, frozen=True):
    """Where caller sound is kept until its words are final."""

    retention: Literal["until-transcribed", "keep"] = "until-transcribed"
    max_mb: Annotated[int, Meta(ge=1, le=10_000_000)] = 2000
    segment_s: Annotated[float, Meta(ge=1.0, le=600.0)] = 10.0
    memory_s: Annotated[float, Meta(ge=1.0, le=3600.0)] = 60.0


class Stt(Section, frozen=True):
    """Speech to text."""

    engine: NonEmpty = "pocketsphinx"
    preroll_ms: Annotated[int, Meta(ge=300, le=5000)] = 400
    partial_ms: Annotated[int, Meta(ge=20, le=5000)] = 100
    max_utterance_s: Annotated[float, Meta(ge=1.0, le=600.0)] = 30.0
    second_look_ms: Annotated[int, Meta(ge=0, le=10_000)] = 2200
    stall_ms: Annotated[int, Meta(ge=200, le=60_000)] = 2000
    turn_bound: bool = False
    reopen_ms: Annotated[int, Meta(ge=1, le=60_000)] = 200
    batch_engine: NonEmpty = "pocketsphinx"
    batch_interval_s: Annotated[float, Meta(ge=0.1, le=3600.0)] = 30.0
    batch_wait_s: Annotated[float, Meta(ge=1.0, le=3600.0)] = 20.0
    batch_budget_s: Annotated[float, Meta(ge=0.0, le=10_000_000.0)] = 0.0


class Deepgram(Section, frozen=True):
    """The remote recogniser. `token` comes from DEEPGRAM_API_KEY alone, never from a file."""

    url: NonEmpty = "wss://api.deepgram.com/v1/listen"
    model: NonEmpty = "nova-3"
    language: NonEmpty = "en"
    diarize: bool = False
    connect_timeout_s: Seconds = 5.0
    keep_alive_s: Annotated[float, Meta(ge=3.0, le=5.0)] = 4.0
    finalize_wait_ms: Annotated[int, Meta(ge=100, le=60_000)] = 1000
    token: Secret = Secret()


class Nemo(Section, frozen=True):
    """Recognisers of NeMo, in an environment of their own: `make engine-nemo`."""

    model: NonEmpty = "nvidia/nemotron-speech-streaming-en-0.6b"
    batch_model: NonEmpty = "nvidia/parakeet-tdt-0.6b-v2"
    att_context_ms: Literal[80, 160, 560, 1120] = 160
    device: Annotated[str, Meta(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    max_sessions: Annotated[int, Meta(ge=1, le=256)] = 2
    tail_ms: Annotated[int, Meta(ge=80, le=2000)] = 320
    cpu_threads: Annotated[int, Meta(ge=1, le=256)] = 1


class Turns(Section, frozen=True):
    """When a turn ends, when an interruption is meant, and what the model is told."""

    endpointing: Literal["words", "fixed", "smart-turn"] = "words"
    endpoint_ms: Annotated[int, Meta(ge=50, le=10_000)] = 600
    endpoint_complete_ms: Annotated[int, Meta(ge=50, le=10_000)] = 320
    endpoint_unfinished_ms: Annotated[int, Meta(ge=50, le=10_000)] = 1200
    endpoint_dictation_ms: Annotated[int, Meta(ge=50, le=10_000)] = 1000
    hold_ms: Annotated[int, Meta(ge=32, le=5000)] = 200
    word_ms: Annotated[int, Meta(ge=32, le=5000)] = 500
    content_ms: Annotated[int, Meta(ge=32, le=5000)] = 600
    long_ms: Annotated[int, Meta(ge=50, le=5000)] = 1050
    commit_ms: Annotated[int, Meta(ge=50, le=5000)] = 1400
    voice_ms: Annotated[int, Meta(ge=50, le=10_000)] = 1500
    verdict_ms: Annotated[int, Meta(ge=0, le=5000)] = 700
    quiet_db: Annotated[float, Meta(ge=0.0, le=100.0)] = 12.0
    soft_db: Annotated[float, Meta(ge=0.0, le=100.0)] = 22.0
    least_voiced: Probability = 0.4
    list_nats: Annotated[float, Meta(ge=0.0, le=1000.0)] = 40.0
    floor_nats: Annotated[float, Meta(ge=0.1, le=100.0)] = 2.0
    lean_nats: Annotated[float, Meta(ge=-100.0, le=100.0)] = 0.5
    final_wait_ms: Annotated[int, Meta(ge=50, le=60_000)] = 2000
    max_turn_s: Annotated[float, Meta(ge=1.0, le=3600.0)] = 60.0
    answer_wait_ms: Annotated[int, Meta(ge=100, le=600_000)] = 10_000
    resumptions: Annotated[int, Meta(ge=0, le=10)] = 2
    system_prompt: Text = SYSTEM_PROMPT
    drafts: Annotated[int, Meta(ge=0, le=20)] = 3
    greeting: Text = ""
    notice: Text = ""


class Watch(Section, frozen=True):
    """When something is stuck, and what ends it. 0 switches a watch off."""

    unheard_ms: Annotated[int, Meta(ge=0, le=60_000)] = 800
    no_words_s: Annotated[float, Meta(ge=0.0, le=600.0)] = 15.0
    voice_lost_ms: Annotated[int, Meta(ge=0, le=60_000)] = 2000
    token_wait_ms: Annotated[int, Meta(ge=0, le=60_000)] = 3000
    voice_wait_ms: Annotated[int, Meta(ge=0, le=600_000)] = 5000
    idle_s: Annotated[float, Meta(ge=0.0, le=3600.0)] = 10.0
    idle_prompts: Annotated[int, Meta(ge=0, le=100)] = 1
    hang_up: bool = True


class Phrases(Section, frozen=True):
    """What the agent says without asking the model; "" for silence."""

    sorry: Text = "Sorry, I did not catch that."
    moment: Text = "One moment, please."
    trouble: Text = "I'm having trouble answering. Let me try again."
    apology: Text = "I'm sorry, something went wrong. Please ask me again."
    still_there: Text = "Are you still there?"
    goodbye: Text = "I will hang up now. Goodbye."


class LlmEndpoint(Section, frozen=True):
    """Where else the model may be asked."""

    url: NonEmpty
    model: NonEmpty

    @property
    def name(self) -> str:
        """As the breaker knows it."""
        return f"{urlsplit(self.url).netloc}/{self.model}"


class Llm(Section, frozen=True):
    """The chat endpoints. Keys come from LLM_API_KEY and LLM_API_KEY_2, _3 … alone, never from a file."""

    url: NonEmpty = "http://127.0.0.1:8808/v1"
    model: NonEmpty = "embedded"
    fallbacks: Annotated[tuple[LlmEndpoint, ...], Meta(max_length=8)] = ()
    connect_timeout_s: Seconds = 2.0
    first_token_timeout_s: Seconds = 8.0
    fallback_after_ms: Annotated[int, Meta(ge=100, le=600_000)] = 3000
    token_timeout_s: Seconds = 5.0
    retry_ms: Annotated[int, Meta(ge=0, le=60_000)] = 1000
    tools: Annotated[tuple[NonEmpty, ...], Meta(max_length=64)] = ()
    tool_timeout_s: Seconds = 5.0
    api_key: Secret = Secret()
    fallback_api_keys: tuple[Secret, ...] = ()

    @property
    def endpoints(self) -> tuple[LlmEndpoint, ...]:
        """All of them, the preferred one first."""
        return (LlmEndpoint(url=self.url, model=self.model), *self.fallbacks)

    def key_of(self, number: int) -> Secret:
        """The key of an endpoint, counted from 0; empty when there is none."""
        keys = (self.api_key, *self.fallback_api_keys)
        return keys[number] if number < len(keys) else Secret()


class Responder(Section, frozen=True):
    """The embedded responder behind the same HTTP interface as a real model."""

    host: NonEmpty = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65_535)] = 8808
    tokens_per_s: Annotated[float, Meta(gt=0.0, le=100_000.0)] = 40.0
    first_token_ms: Annotated[int, Meta(ge=0, le=60_000)] = 80


class Llama(Section, frozen=True):
    """llama-server, run by this fleet when an endpoint of [llm] is its address."""

    model: Annotated[str, Meta(max_length=1000)] = ""
    server: Annotated[str, Meta(max_length=1000)] = ""
    host: NonEmpty = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65_535)] = 8810
    slots: Annotated[int, Meta(ge=1, le=256)] = 4
    context: Annotated[int, Meta(ge=256, le=1_048_576)] = 4096
    batch: Annotated[int, Meta(ge=32, le=8192)] = 256
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    arguments: Annotated[tuple[NonEmpty, ...], Meta(max_length=64)] = ()


class TtsVoice(Section, frozen=True):
    """Who else may speak."""

    engine: NonEmpty
    voice: NonEmpty

    @property
    def name(self) -> str:
        """As the breaker knows it."""
        return f"{self.engine}/{self.voice}"


class Tts(Section, frozen=True):
    """Text to speech."""

    engine: NonEmpty = "espeak"
    voice: NonEmpty = "en-us"
    fallbacks: Annotated[tuple[TtsVoice, ...], Meta(max_length=8)] = (
        TtsVoice(engine="espeak", voice="en"),
    )
    stall_ms: Annotated[int, Meta(ge=100, le=60_000)] = 2000
    words_per_minute: Annotated[int, Meta(ge=80, le=450)] = 175
    lead_s: Annotated[float, Meta(ge=0.1, le=60.0)] = 2.0
    smoke: Text = "This is only a test."
    smoke_quiet_ms: Annotated[int, Meta(ge=0, le=600_000)] = 1000
    smoke_least_ms: Annotated[int, Meta(ge=1, le=60_000)] = 300
    smoke_most_ms: Annotated[int, Meta(ge=1, le=60_000)] = 8000
    smoke_level_dbfs: Annotated[float, Meta(ge=-110.0, le=0.0)] = -50.0

    @property
    def voices(self) -> tuple[TtsVoice, ...]:
        """All of them, the preferred one first."""
        return (TtsVoice(engine=self.engine, voice=self.voice), *self.fallbacks)


class Chatterbox(Section, frozen=True):
    """The voice Chatterbox, in an environment of its own: `make engine-chatterbox`."""

    model: str = ""
    turbo: bool = False
    voice_wav: str = ""
    device: Annotated[str, Meta(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    first_tokens: Annotated[int, Meta(ge=4, le=1000)] = 15
    chunk_tokens: Annotated[int, Meta(ge=4, le=1000)] = 25
    context_tokens: Annotated[int, Meta(ge=1, le=250)] = 12
    flow_steps: Annotated[int, Meta(ge=0, le=100)] = 0
    temperature: Annotated[float, Meta(gt=0.0, le=5.0)] = 0.8
    cfg_weight: Annotated[float, Meta(ge=0.0, le=5.0)] = 0.5
    exaggeration: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.5
    seed: Annotated[int, Meta(ge=0, le=2_147_483_647)] = 1


class Playback(Section, frozen=True):
    """Pacing and ducking of the agent's voice."""

    frame_ms: Annotated[int, Meta(ge=5, le=100)] = 20
    duck_db: Annotated[float, Meta(ge=-120.0, le=-20.0)] = -26.0
    ramp_ms: Annotated[int, Meta(ge=0, le=100)] = 10


class Breaker(Section, frozen=True):
    """When a circuit opens, and how long until it lets a probe through."""

    failure_threshold: Annotated[int, Meta(ge=1, le=100)] = 3
    reset_timeout_s: Annotated[float, Meta(ge=1.0, le=3600.0)] = 30.0


class Warden(Section, frozen=True):
    """When a silent process counts as wedged."""

    wedge_ms: Annotated[int, Meta(ge=100, le=60_000)] = 700
    poll_ms: Annotated[int, Meta(ge=20, le=10_000)] = 250
    boot_grace_s: Annotated[float, Meta(ge=1.0, le=3600.0)] = 20.0
    slow_ms: Annotated[int, Meta(ge=100, le=600_000)] = 2000


class Preflight(Section, frozen=True):
    """What `bargein preflight` lets pass."""

    device_memory_over_mb: Annotated[int, Meta(ge=0, le=1_000_000)] = 500


SECTIONS: dict[str, type[Section]] = {
    "fleet": Fleet,
    "bus": Bus,
    "cancel": CancelRound,
    "audio_in": AudioIn,
    "journal": Journal,
    "stt": Stt,
    "deepgram": Deepgram,
    "nemo": Nemo,
    "turns": Turns,
    "watch": Watch,
    "phrases": Phrases,
    "llm": Llm,
    "responder": Responder,
    "llama": Llama,
    "tts": Tts,
    "chatterbox": Chatterbox,
    "playback": Playback,
    "breaker": Breaker,
    "warden": Warden,
    "preflight": Preflight,
}
