"""Settings and turn_manager's flags go in, the settings in force at turn_manager come out; and back.

A recording carries them in its header: what fleet.toml says when it is replayed may be something
else, and so may what it says while it is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bus.ask import ask
from bus.control import MANAGER
from bus.endpoints import Endpoints
from bus.errors import NoAnswer
from bus.flags import flags_of
from bus.recording import NotATrace
from bus.sections import SECTIONS, Secret, Section
from bus.settings import Settings
from schemas import AskStats, Flag, Heartbeat

Tables = dict[str, dict[str, Any]]


def header(settings: Settings, where: Endpoints) -> dict[str, Any]:
    """What a recorder writes first. `unsure`: keys of which only a digest is known, and it differs."""
    try:
        beat = ask(where, MANAGER, AskStats(), timeout_s=1.0)
    except NoAnswer:
        return {"settings": tables(settings), "unsure": []}
    flags = beat.flags if isinstance(beat, Heartbeat) else {}
    made, unsure = overlaid(settings, flags)
    return {"settings": made, "unsure": unsure}


def release_ms(header: Mapping[str, Any]) -> float:
    """What a CANCEL round of the recording may take; 0 when its header does not say."""
    value = header.get("settings", {}).get("cancel", {}).get("release_ms", 0)
    return value if isinstance(value, int | float) else 0


def overlaid(settings: Settings, flags: Mapping[str, Flag]) -> tuple[Tables, list[str]]:
    """`settings` with what `flags` of turn_manager say instead."""
    made, unsure = tables(settings), []
    expected = flags_of(settings, MANAGER)
    for key, value in flags.items():
        section, _, name = key.partition(".")
        if expected.get(key, value) == value or name not in made.get(section, {}):
            continue
        if isinstance(value, str) and "(sha256 " in value:
            unsure.append(key)
        else:
            listed = isinstance(made[section][name], list | tuple)
            made[section][name] = str(value).split() if listed else value
    return made, unsure


def tables(settings: Settings) -> Tables:
    """Every section as a plain map; secrets stay out."""
    return {
        section: {
            key: msgspec.to_builtins(value)
            for key in cls.__struct_fields__
            if not isinstance(value := getattr(getattr(settings, section), key), Secret)
        }
        for section, cls in SECTIONS.items()
    }


def rebuilt(made: Mapping[str, Any], base: Settings) -> Settings:
    """Settings from a header; what it does not say (secrets, newer keys) is as in `base`.

    Raises NotATrace.
    """
    known = tables(base)
    try:
        sections = {
            name: _section(cls, known[name], made.get(name, {}), getattr(base, name))
            for name, cls in SECTIONS.items()
        }
    except (msgspec.ValidationError, AttributeError, TypeError) as error:
        raise NotATrace(
            f"the settings in the trace's header can't be used ({error}); "
            "replay with --current-settings"
        ) from None
    return msgspec.structs.replace(base, **sections)


def _section(cls: type[Section], known: dict[str, Any], given: dict[str, Any], was: Section) -> Any:
    values = {key: given.get(key, value) for key, value in known.items()}
    secrets = {key: getattr(was, key) for key in cls.__struct_fields__ if key not in known}
    return msgspec.structs.replace(msgspec.convert(values, cls), **secrets)
