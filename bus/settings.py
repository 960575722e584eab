"""In come config/fleet.toml, a profile and four environment variables, out goes one frozen `Settings`."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from bus.errors import SettingsError
from bus.floor import Floor, ModelFile, leads_to
from bus.floor import read as read_floor
from bus.settings_check import Checker

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

    endpointing: Literal["words", "fixed"] = "words"
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
    soft_db: Annotated[float, Meta(ge=0.0, le=100.0)] = 22.0
    list_nats: Annotated[float, Meta(ge=0.0, le=1000.0)] = 40.0
    floor_nats: Annotated[float, Meta(ge=0.1, le=100.0)] = 2.0
    lean_nats: Annotated[float, Meta(ge=-100.0, le=100.0)] = 0.8
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


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it, read once per process; `bargein status` says who needs a restart."""

    home: Path
    fleet: Fleet = Fleet()
    bus: Bus = Bus()
    cancel: CancelRound = CancelRound()
    audio_in: AudioIn = AudioIn()
    journal: Journal = Journal()
    stt: Stt = Stt()
    deepgram: Deepgram = Deepgram()
    nemo: Nemo = Nemo()
    turns: Turns = Turns()
    watch: Watch = Watch()
    phrases: Phrases = Phrases()
    llm: Llm = Llm()
    responder: Responder = Responder()
    llama: Llama = Llama()
    tts: Tts = Tts()
    chatterbox: Chatterbox = Chatterbox()
    playback: Playback = Playback()
    breaker: Breaker = Breaker()
    warden: Warden = Warden()
    preflight: Preflight = Preflight()

    def model_file(self) -> ModelFile | None:
        """What llm.url's model is read from, when that is the llama-server of this fleet."""
        llama = self.llama
        if not llama.model or not leads_to(self.llm.url, llama.host, llama.port):
            return None
        return ModelFile.at(self.home / Path(llama.model).expanduser())

    def measured(self) -> Floor | None:
        """What `bargein preflight llm-floor` has measured of this model, on this machine."""
        return read_floor(self.home, self.llm.url, self.llm.model, self.model_file())

    @property
    def run_dir(self) -> Path:
        """Sockets, locks and pid files."""
        return self.home / "var" / "run"

    @property
    def calls_dir(self) -> Path:
        """Recordings, one folder a call."""
        return self.home / "var" / "calls"

    @property
    def journal_dir(self) -> Path:
        """Caller sound that is not transcribed yet."""
        return self.home / "var" / "journal"

    @property
    def transcript_dir(self) -> Path:
        """What was said, a file a call."""
        return self.home / "var" / "transcripts"

    @property
    def log_dir(self) -> Path:
        """What the processes print."""
        return self.home / "var" / "log"


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

OURS = {
    "vad": ("pysilero", "silero-onnx"),
    "stt": ("deepgram", "nemo", "nemo-small", "null", "pocketsphinx"),
    "batch": ("deepgram", "nemo", "none", "pocketsphinx"),
    "tts": ("chatterbox", "espeak"),
    "tools": ("hang_up", "time", "transfer"),
}
"""The engines that come along; others are entry points of the group `bargein.KIND`."""
HIDDEN = {
    "api_key": "LLM_API_KEY",
    "fallback_api_keys": "LLM_API_KEY_2, LLM_API_KEY_3 …",
    "token": "DEEPGRAM_API_KEY",
}
"""Keys that hold secrets, and the variables that set them."""

_TRUE = frozenset({"1", "true"})
_FALSE = frozenset({"0", "false"})


def home(env: Mapping[str, str] = os.environ) -> Path:
    """The folder of config/ and var/: BARGEIN_HOME, or the repository."""
    given = env.get("BARGEIN_HOME", "")
    return Path(given).expanduser().resolve() if given else Path(__file__).resolve().parent.parent


def load(path: Path | None = None, env: Mapping[str, str] = os.environ) -> Settings:
    """Read fleet.toml (default: config/fleet.toml under home), put its profile and the environment over it.

    Without `path` what was measured on this machine counts too: see CancelRound.
    """
    where = home(env)
    source = path or where / "config" / "fleet.toml"
    tables = Checker(source, SECTIONS, HIDDEN).tables(_read(source))
    for section, values in _profile(source, tables.get("fleet", {}).get("profile", "")).items():
        tables.setdefault(section, {}).update(values)
    for section, key, value in _overrides(env):
        tables.setdefault(section, {})[key] = value
    made = {name: cls(**tables.get(name, {})) for name, cls in SECTIONS.items()}
    settings = Settings(home=where, **made)  # type: ignore[arg-type]  # SECTIONS mirrors the fields
    _known(source, settings)
    _agree(source, settings)
    return settings if path else _measured(settings)


def _measured(settings: Settings) -> Settings:
    """The release budget of a CANCEL is what this machine's model needs, and `over_floor_ms` more."""
    cancel = settings.cancel
    if (floor := settings.measured()) is None:
        return settings
    budget_ms = min(60_000, max(cancel.stuck_ms, math.ceil(floor.floor_ms) + cancel.over_floor_ms))
    return msgspec.structs.replace(
        settings, cancel=msgspec.structs.replace(cancel, release_ms=budget_ms)
    )


def _profile(source: Path, name: str) -> dict[str, dict[str, Any]]:
    """The tables of PROFILE.toml beside fleet.toml; none without a profile."""
    if not name:
        return {}
    file = source.with_name(f"{name}.toml")
    if not file.is_file():
        others = sorted(path.stem for path in source.parent.glob("*.toml") if path != source)
        known = ", ".join(f'"{one}"' for one in others)
        raise SettingsError(
            f'{source}: fleet.profile: there is no {file}; allowed: ""{known and ", "}{known}'
        )
    tables = Checker(file, SECTIONS, HIDDEN).tables(_read(file))
    if "profile" in tables.get("fleet", {}):
        raise SettingsError(f"{file}: fleet.profile: a profile names no other; delete the line")
    return tables


def _read(source: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"{source}: no such file; restore it with `git checkout config/fleet.toml`, or set "
            "BARGEIN_HOME to a folder that has config/fleet.toml"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{source}: can't be read ({error}); correct the file") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{source}: not TOML: {error}") from None


def _overrides(env: Mapping[str, str]) -> list[tuple[str, str, object]]:
    found: list[tuple[str, str, object]] = []
    if (flag := env.get("ENABLE_BARGE_IN")) is not None:
        found.append(("fleet", "enable_barge_in", _switch("ENABLE_BARGE_IN", flag)))
    for variable, key in (("LLM_URL", "url"), ("LLM_MODEL", "model")):
        if (text := env.get(variable)) is not None:
            found.append(("llm", key, _not_empty(variable, text)))
    if key := env.get("LLM_API_KEY", ""):
        found.append(("llm", "api_key", Secret(key)))
    keys = tuple(Secret(env.get(f"LLM_API_KEY_{number}", "")) for number in range(2, 10))
    if any(keys):
        found.append(("llm", "fallback_api_keys", keys))
    if key := env.get("DEEPGRAM_API_KEY", ""):
        found.append(("deepgram", "token", Secret(key)))
    return found


def _switch(variable: str, text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise SettingsError(
            f"environment: {variable}: {text!r} is no switch; allowed: 0, 1, true, false"
        )
    return word in _TRUE


def _not_empty(variable: str, text: str) -> str:
    if not text.strip():
        raise SettingsError(f"environment: {variable}: is set but empty; unset it or give a value")
    return text.strip()


def _engines(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Each engine that is asked for: its key, its kind, its name."""
    yield "audio_in.vad", "vad", settings.audio_in.vad
    yield "stt.engine", "stt", settings.stt.engine
    yield "stt.batch_engine", "batch", settings.stt.batch_engine
    for number, voice in enumerate(settings.tts.voices):
        yield "tts.fallbacks" if number else "tts.engine", "tts", voice.engine
    for tool in settings.llm.tools:
        yield "llm.tools", "tools", tool


def _known(source: Path, settings: Settings) -> None:
    for key, kind, name in _engines(settings):
        group = f"bargein.{kind}"
        if name not in OURS[kind] and not entry_points(group=group, name=name):
            allowed = ", ".join(f'"{one}"' for one in OURS[kind])
            raise SettingsError(
                f"{source}: {key}: {name!r} is not allowed; allowed: {allowed}, and the entry points "
                f"{group} of installed packages"
            )


def _agree(source: Path, settings: Settings) -> None:
    """What no single value can say: rules between two keys."""
    audio, cancel, fleet = settings.audio_in, settings.cancel, settings.fleet
    llm, tts = settings.llm, settings.tts
    rules = (
        (
            audio.release_threshold <= audio.threshold,
            f"audio_in.release_threshold: {audio.release_threshold} is above audio_in.threshold "
            f"({audio.threshold}); allowed: 0.0 to {audio.threshold}",
        ),
        (
            cancel.resend_ms < cancel.stuck_ms <= cancel.release_ms,
            f"cancel.stuck_ms: {cancel.stuck_ms} ms must be above cancel.resend_ms "
            f"({cancel.resend_ms} ms) and not above cancel.release_ms ({cancel.release_ms} ms)",
        ),
        (
            len(set(fleet.roster)) == len(fleet.roster),
            f"fleet.roster: an actor is named twice in {list(fleet.roster)}; name each once",
        ),
        (
            len({endpoint.name for endpoint in llm.endpoints}) == len(llm.endpoints),
            "llm.fallbacks: the same model at the same address twice; name each once",
        ),
        (
            len({voice.name for voice in tts.voices}) == len(tts.voices),
            "tts.fallbacks: the same voice twice; name each once",
        ),
        (
            tts.smoke_least_ms < tts.smoke_most_ms,
            f"tts.smoke_least_ms: {tts.smoke_least_ms} ms must be below tts.smoke_most_ms "
            f"({tts.smoke_most_ms} ms)",
        ),
        *_addresses(llm),
    )
    for holds, wrong in rules:
        if not holds:
            raise SettingsError(f"{source}: {wrong}")


def _addresses(llm: Llm) -> Iterator[tuple[bool, str]]:
    for number, endpoint in enumerate(llm.endpoints):
        key = f"llm.fallbacks, entry {number}: url" if number else "llm.url"
        url = urlsplit(endpoint.url)
        yield (
            url.scheme in ("http", "https") and bool(url.hostname),
            f"{key}: {url.scheme or endpoint.url!r} is no address; allowed: http://… or https://…",
        )
        variable = f"LLM_API_KEY_{number + 1}" if number else "LLM_API_KEY"
        yield (
            "@" not in url.netloc,
            f"{key}: holds a user name or password; take it out and set {variable} instead",
        )
