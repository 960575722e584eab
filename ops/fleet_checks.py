"""Before anything starts: in comes the fleet's home, out comes one clear error or nothing."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

import psutil

from bus.errors import FleetError
from bus.floor import leads_to
from bus.settings import Settings
from engines.llama_command import trouble
from ops.supervisor import Supervisor, leftovers

ROOM_BYTES = 1_048_576


def check(settings: Settings, supervisor: Supervisor) -> None:
    """Raise for the first thing that would keep the fleet from starting."""
    _files(supervisor)
    for folder in (settings.run_dir, settings.log_dir, settings.calls_dir):
        room(folder)
    settings.run_dir.chmod(0o700)
    _no_leftovers(settings.home)
    if responder_is_asked(settings):
        port_is_free(settings.responder.host, settings.responder.port)
    if llama_is_asked(settings):
        llama = settings.llama
        if len(settings.llm.endpoints) == 1 and (wrong := trouble(llama, settings.home)):
            raise FleetError(wrong)
        port_is_free(llama.host, llama.port, "llama-server", "llama")


def _files(supervisor: Supervisor) -> None:
    python = supervisor.home / ".venv" / "bin" / "python"
    if not supervisor.conf.exists():
        raise FleetError(f"{supervisor.conf}: no such file; set BARGEIN_HOME to the project folder")
    if not python.exists():
        raise FleetError(f"{python}: no such file; make the environment with `make venv`")


def room(folder: Path) -> None:
    """Can `folder` be made, and does a megabyte fit? Asking by trying is the only sure way."""
    probe = folder / f".room-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with probe.open("wb") as file:
            file.write(bytes(ROOM_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise FleetError(
            f"{folder} can't be written: {error.strerror}; free space there, or correct its owner "
            "and mode, then try again"
        ) from None
    finally:
        _forget(probe)


def _forget(probe: Path) -> None:
    try:
        probe.unlink(missing_ok=True)
    except OSError:
        return


def _no_leftovers(home: Path) -> None:
    if found := leftovers(home):
        pids = ", ".join(str(process.pid) for process in found)
        raise FleetError(
            f"{len(found)} processes of an earlier fleet live on without their supervisord "
            f"({pids}); stop them with `bargein down`"
        )


def responder_is_asked(settings: Settings) -> bool:
    """Does llm.url, or one of llm.fallbacks, lead to the embedded responder?"""
    return _is_asked(settings, settings.responder.host, settings.responder.port)


def llama_is_asked(settings: Settings) -> bool:
    """Does one of them lead to the llama-server of this fleet?"""
    return _is_asked(settings, settings.llama.host, settings.llama.port)


def _is_asked(settings: Settings, host: str, port: int) -> bool:
    return any(leads_to(endpoint.url, host, port) for endpoint in settings.llm.endpoints)


def port_is_free(
    host: str, port: int, who: str = "the embedded responder", section: str = "responder"
) -> None:
    """Raise when something else listens where `who`, set up in `section`, would."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise FleetError(
                f"{who} can't listen on {host}:{port}: {error.strerror}"
                f"{_holder(port)}; stop that, change {section}.port and llm.url in "
                "config/fleet.toml, or set LLM_URL to your own server"
            ) from None


def _holder(port: int) -> str:
    try:
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr.port == port and found.pid:
                return f" (held by process {found.pid}, {psutil.Process(found.pid).name()})"
    except psutil.Error:
        return ""
    return ""
