"""A place of its own for a bench: setting overrides go in, a home under /tmp that is gone afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import zmq

from bus.endpoints import Endpoints
from bus.errors import FleetError
from bus.settings import Settings, home, load
from ops.doors import Doors
from ops.supervisor import Supervisor
from schemas import AskHealth, Health

Tables = Mapping[str, Mapping[str, Any]]
READY_S = 40.0
ACTORS_MODULE = re.compile(r"-m actors ")


@contextmanager
def scratch(tables: Tables | None = None) -> Iterator[Settings]:
    """A home with config/fleet.toml of just `tables`; short, since a socket path has 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="bb-", dir="/tmp"))
    try:
        for name in ("config", "var/run", "var/log"):
            (folder / name).mkdir(parents=True, mode=0o700)
        (folder / "config" / "fleet.toml").write_text(_toml(tables or {}))
        yield load(env={"BARGEIN_HOME": str(folder)})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _toml(tables: Tables) -> str:
    """JSON's numbers, strings, booleans and lists are TOML's too."""
    lines = []
    for name, values in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def free_port() -> int:
    """A TCP port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def with_responder(tables: Tables) -> dict[str, dict[str, Any]]:
    """The tables, and an embedded responder on a port of its own."""
    port = free_port()
    merged = {name: dict(values) for name, values in tables.items()}
    merged.setdefault("responder", {})["port"] = port
    merged.setdefault("llm", {})["url"] = f"http://127.0.0.1:{port}/v1"
    return merged


@contextmanager
def fleet(
    settings: Settings,
    env: Mapping[str, str] | None = None,
    actors: str = "actors",
    responder: str = "ops.run_responder",
    ready_s: float = READY_S,
) -> Iterator[Supervisor]:
    """The fleet of supervisord.conf in a scratch home, ready; `actors`: the module that runs one."""
    conf = (home({}) / "supervisord.conf").read_text()
    conf = conf.replace("-m ops.run_responder", f"-m {responder}")
    (settings.home / "supervisord.conf").write_text(ACTORS_MODULE.sub(f"-m {actors} ", conf))
    (settings.home / ".venv").symlink_to(Path(sys.prefix))
    supervisor = Supervisor(settings.home)
    kept = dict(os.environ)
    os.environ.update(env or {})
    try:
        supervisor.start()
    finally:
        os.environ.clear()
        os.environ.update(kept)
    try:
        wait_ready(settings, ready_s)
        yield supervisor
    finally:
        supervisor.shutdown()


def wait_ready(settings: Settings, timeout_s: float = READY_S) -> None:
    """Until every actor on the roster says it is ready."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    roster = settings.fleet.roster
    deadline = time.monotonic() + timeout_s
    with closing(Doors(context, Endpoints(settings.run_dir), roster)) as doors:
        while time.monotonic() < deadline:
            found = doors.survey(AskHealth(), 0.5)
            waiting = [name for name in roster if not _ready(found.get(name))]
            if not waiting:
                return
            time.sleep(0.05)
    raise FleetError(
        f"the bench's fleet is not ready: {', '.join(waiting)}; {_tail(settings, waiting[0])}"
    )


def _ready(answer: object) -> bool:
    return isinstance(answer, Health) and answer.ready


def _tail(settings: Settings, name: str) -> str:
    log = settings.log_dir / f"{name}.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return lines[-1] if lines else "it printed nothing"
