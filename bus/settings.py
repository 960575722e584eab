"""In come config/fleet.toml, a profile and four environment variables, out goes one frozen `Settings`."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from bus.errors import SettingsError
from bus.floor import Floor, ModelFile, leads_to
from bus.floor import read as read_floor
from bus.sections import (
    SECTIONS,
    AudioIn,
    Breaker,
    Bus,
    CancelRound,
    Chatterbox,
    Deepgram,
    Fleet,
    Journal,
    Llama,
    Llm,
    Nemo,
    Phrases,
    Playback,
    Preflight,
    Responder,
    Secret,
    Stt,
    Tts,
    Turns,
    Warden,
    Watch,
)
from bus.settings_check import Checker


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


OURS = {
    "vad": ("pysilero", "silero-onnx"),
    "stt": ("deepgram", "moonshine", "nemo", "nemo-small", "null", "pocketsphinx"),
    "batch": ("deepgram", "moonshine", "nemo", "none", "pocketsphinx"),
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
            audio.over_ms + 192 <= audio.murmur_ms,
            f"audio_in.over_ms: {audio.over_ms} ms and 192 ms more must not be above audio_in.murmur_ms "
            f"({audio.murmur_ms} ms), which is as far back as levels are remembered",
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
