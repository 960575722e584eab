"""Which Python an actor runs on: large engine stacks, with pins that conflict, have one each.

supervisord starts every actor the same way; one whose engine has an environment goes on in that one, under
the same process id. Without the environment, or with half of one, it stays, and says that `make engine-…`
is missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bus.settings import Settings

ENVIRONMENTS = {"chatterbox": "chatterbox", "nemo": "nemo", "nemo-small": "nemo"}
"""Engine → its environment: a folder `.engines/NAME`, made by `make engine-NAME`."""

INSTALLED = "installed"
"""The file that `make engine-NAME` leaves there last: without it the installation was broken off."""


def python_for(actor: str, settings: Settings) -> Path | None:
    """The interpreter of its engines' environment; None when it needs none, or is not there in whole."""
    stt = settings.stt
    voices = tuple(one.engine for one in settings.tts.voices)
    engines = {"tts": voices, "stt": (stt.engine, stt.batch_engine)}
    for engine in engines.get(actor, ()):
        if (name := ENVIRONMENTS.get(engine)) is None:
            continue
        folder = settings.home / ".engines" / name
        python = folder / "bin" / "python"
        if python.is_file() and (folder / INSTALLED).is_file():
            return python
    return None


def move(actor: str, settings: Settings, arguments: Sequence[str], module: str = "actors") -> None:
    """Go on in the actor's own environment, unless this is it."""
    python = python_for(actor, settings)
    if python is not None and Path(sys.prefix).resolve() != python.parent.parent.resolve():
        os.execv(python, [str(python), "-P", "-m", module, *arguments])
