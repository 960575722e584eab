"""Engines of other packages: a kind and a name go in, the engine comes out.

A package declares it as an entry point, here a recogniser named `mine`:

    [project.entry-points."bargein.stt"]
    mine = "my_package:make"

`make(settings)` gets the whole `bus.settings.Settings` and returns an `SttEngine`; for the groups
`bargein.batch`, `bargein.tts` and `bargein.vad` a `BatchStt`, a `Voice` or a `Vad` (engines/protocols.py).
It must not load a model yet: `load()` does.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from bus.settings import Settings
from engines.protocols import EngineError


def outside(kind: str, name: str, settings: Settings) -> Any:
    """The engine of that name, not loaded yet. Raises EngineError when it can't be made."""
    found = entry_points(group=f"bargein.{kind}", name=name)
    if not found:
        raise EngineError(
            f"no package has {name!r} as an entry point of bargein.{kind}: install it"
        )
    entry = next(iter(found))
    try:
        return entry.load()(settings)
    except Exception as error:
        raise EngineError(
            f"{kind} engine {name!r} ({entry.value}) can't be made: {error!r}; mend its package"
        ) from error
