"""In come [llama] of fleet.toml and the project folder, out goes a command line, or what is wrong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bus.sections import Llama
from bus.settings import home as project

MAGIC = b"GGUF"


def built_at(root: Path) -> Path:
    """Where `make engine-llama` puts it."""
    return root / ".engines" / "llama" / "bin" / "llama-server"


def model_of(llama: Llama, root: Path) -> Path:
    """The model file."""
    return root / Path(llama.model).expanduser()


def server_of(llama: Llama, root: Path) -> Path | None:
    """The program: the one named, else the one built here or beside this code, else that on PATH."""
    if llama.server:
        return root / Path(llama.server).expanduser()
    built = (path for path in (built_at(root), built_at(project({}))) if path.exists())
    if (found := next(built, None)) is not None:
        return found
    on_path = shutil.which("llama-server")
    return Path(on_path) if on_path else None


def trouble(llama: Llama, root: Path) -> str:
    """Why it can't be started, in one line that says what to do; "" when it can."""
    if not llama.model:
        return "llama.model is empty; name a .gguf file in config/fleet.toml"
    server, model = server_of(llama, root), model_of(llama, root)
    if server is None:
        return "there is no llama-server; `make engine-llama` builds one, or name yours as llama.server"
    if not (server.is_file() and os.access(server, os.X_OK)):
        return f"llama.server: {server} is no program; correct it, or run `make engine-llama`"
    try:
        with model.open("rb") as file:
            begins = file.read(len(MAGIC))
    except OSError as error:
        return f"llama.model: {model}: {error.strerror}; put the file there or correct the path"
    if begins != MAGIC:
        return f"llama.model: {model} is no GGUF file; fetch it again or name another"
    return ""


def command(llama: Llama, root: Path, port: int | None = None) -> list[str]:
    """The command line. Call it when there is no `trouble`; `port` stands for the one in the settings.

    `-np` slots of `context` tokens each; `-b` and `-ub` bound how long a CANCEL waits for a prompt
    that is being read; `--no-slots`, since whoever polls /slots delays a CANCEL by seconds;
    `--cache-ram 0`, since a slot belongs to one call and its predecessor's text is of no use.
    """
    threads = ["-t", str(llama.threads)] if llama.threads else []
    return [
        str(server_of(llama, root)),
        *("-m", str(model_of(llama, root))),
        *("--host", llama.host, "--port", str(port or llama.port)),
        *("-np", str(llama.slots), "-c", str(llama.slots * llama.context)),
        *("-b", str(llama.batch), "-ub", str(llama.batch)),
        *("--no-slots", "--cache-ram", "0"),
        *threads,
        *llama.arguments,
    ]
