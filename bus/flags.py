"""Flags: in come Settings and a process's name, out go the values in force that it depends on."""

from __future__ import annotations

import hashlib

from bus.settings import HIDDEN, Settings

Flag = str | int | float | bool

OWN_SECTIONS = {
    "audio_in": ("audio_in", "journal"),
    "stt": ("stt",),
    "turn_manager": ("turns", "cancel"),
    "llm": ("llm", "phrases"),
    "tts": ("tts", "phrases"),
    "playback": ("playback",),
    "breaker": ("breaker",),
}
"""Which tables an actor reads beside the common ones. A new reader of a table is added here."""

COMMON_SECTIONS = ("fleet", "bus")
_NOT_READ_BY_ACTORS = frozenset({"start_wait_s"})
_LONGEST = 64


def flags_of(settings: Settings, process: str) -> dict[str, Flag]:
    """`section.key` → value in force; secrets are left out, long texts shown by their digest."""
    sections = COMMON_SECTIONS + OWN_SECTIONS.get(process, ())
    return {
        f"{section}.{key}": _flag(getattr(getattr(settings, section), key))
        for section in sections
        for key in getattr(settings, section).__struct_fields__
        if key not in _NOT_READ_BY_ACTORS and key not in HIDDEN
    }


def _flag(value: object) -> Flag:
    if isinstance(value, tuple):
        return _flag(" ".join(str(getattr(each, "name", each)) for each in value))
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else _digest(value)
    assert isinstance(value, bool | int | float)
    return value


def _digest(text: str) -> str:
    return f"{text[:24]}… (sha256 {hashlib.sha256(text.encode()).hexdigest()[:8]})"
