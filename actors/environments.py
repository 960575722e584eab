"""Which Python an actor runs on: large engine stacks, with pins that conflict, have one each.

supervisord starts every actor the same way; one whose engine has an environment goes on in that one, under
the same process id. Without the environment it stays, and says that `make engine-…` is missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bus.settings import Settings

ENVIRONMENTS = ("chatterbox",)
"""Engines with a folder `.engines/NAME`, made by `make engine-NAME`."""


def python_for(actor: str, settings: Settings) -> Path | None:
    """The interpreter of its preferred engine's environment; None when it needs none, or is not there."""
    engine = {"tts": settings.tts.engine, "stt": settings.stt.engine}.get(actor, "")
    if engine not in ENVIRONMENTS:
        return None
    python = settings.home / ".engines" / engine / "bin" / "python"
    return python if python.is_file() else None


def move(actor: str, settings: Settings, arguments: Sequence[str]) -> None:
    """Go on in the actor's own environment, unless this is it."""
    python = python_for(actor, settings)
    if python is not None and Path(sys.prefix).resolve() != python.parent.parent.resolve():
        os.execv(python, [str(python), "-P", "-m", "actors", *arguments])
