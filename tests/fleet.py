"""A real fleet for tests: supervisord, real processes, a home of its own, real audio."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import zmq
from typer.testing import CliRunner

from bus.endpoints import Endpoints
from bus.recording import Record, read
from bus.settings import Settings, home, load
from bus.wiretap import Heard
from ops.cli import app
from ops.cues import Cue
from ops.doors import Doors
from ops.placing import Caller, Clip, Placed, Plan, place
from ops.supervisor import Supervisor
from ops.wav import read as read_wav
from schemas import AskHealth, Health
from soak import caller_set

READY_S = 30.0
Watch = Callable[[Heard], None]


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_home(folder: Path, port: int, changes: Mapping[str, str] = {}) -> None:
    """What a clone has: supervisord.conf, .venv, config/fleet.toml (another port, `changes`), var/."""
    root = home(os.environ)
    shutil.copy(root / "supervisord.conf", folder)
    for name in (".venv", ".engines"):
        (folder / name).symlink_to(root / name)
    (folder / "config").mkdir()
    text = (root / "config" / "fleet.toml").read_text()
    for old, new in changes.items():
        assert old in text, f"config/fleet.toml has no {old!r} to change"
        text = text.replace(old, new)
    (folder / "config" / "fleet.toml").write_text(text.replace("8808", str(port)))
    for name in ("run", "log", "calls"):
        (folder / "var" / name).mkdir(parents=True)


class Fleet:
    """Started and ready. `place` calls it; `pid`, `kill`, `wait_ready` handle one actor."""

    def __init__(self, folder: Path, settings: Settings, ready_s: float = READY_S) -> None:
        self.folder, self.settings, self.ready_s = folder, settings, ready_s
        self.where = Endpoints(settings.run_dir)
        self.supervisor = Supervisor(folder)

    def health(self) -> dict[str, Health]:
        """What the doors say now."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        with closing(Doors(context, self.where, self.settings.fleet.roster)) as doors:
            answers = doors.survey(AskHealth(), 0.5)
        return {name: answer for name, answer in answers.items() if isinstance(answer, Health)}

    def wait_ready(self, **not_pids: int) -> float:
        """Until every actor is ready, those named under another pid; seconds it took."""
        began = time.monotonic()
        while time.monotonic() - began < self.ready_s:
            health = self.health()
            others = all(health[n].pid != pid for n, pid in not_pids.items() if n in health)
            ready = [name for name, answer in health.items() if answer.ready]
            if others and len(ready) == len(self.settings.fleet.roster):
                return time.monotonic() - began
        raise AssertionError(f"not ready after {self.ready_s} s: {health}")

    def status(self, *options: str) -> str:
        """What `bargein status` prints."""
        env = {"BARGEIN_HOME": str(self.folder)}
        return CliRunner().invoke(app, ["status", *options], env=env).stdout

    def until(self, fact: Callable[[], bool]) -> None:
        """Until it holds, or as long as getting ready may take: whoever asks then says what is wrong."""
        began = time.monotonic()
        while not fact() and time.monotonic() - began < self.ready_s:
            threading.Event().wait(0.1)

    def pid(self, name: str) -> int:
        """The process supervisord runs under this name."""
        return next(p.pid for p in self.supervisor.processes() if p.name == name)

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to an actor; its pid."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def place(
        self, clips: Sequence[Clip], watch: Watch | None = None, longest_wait_s: float = 15.0
    ) -> tuple[Placed, list[Record]]:
        """A real-time call; its folder and its records."""
        return asyncio.run(self.placing(clips, watch, longest_wait_s))

    async def placing(
        self, clips: Sequence[Clip], watch: Watch | None = None, longest_wait_s: float = 15.0
    ) -> tuple[Placed, list[Record]]:
        """The same, to be gathered with others."""
        plan = Plan(self.where, self.settings.calls_dir, ready_wait_s=READY_S, watch=watch)
        caller = partial(Caller, clips=clips, longest_wait_s=longest_wait_s)
        placed = await place(plan, caller)
        return placed, read(placed.folder / "trace.msgpack")[1]


def clip(kind: str, voice: str, text: str, cue: Cue) -> Clip:
    """One of the shipped recordings."""
    found = caller_set.find(kind, voice, text)[0]
    return Clip(read_wav(found.path), cue, text)


@contextmanager
def fleet(
    changes: Mapping[str, str] = {},
    ready_s: float = READY_S,
    waits: bool = True,
    **environment: str,
) -> Iterator[Fleet]:
    """A fleet of its own in a short folder; stopped and removed afterwards. `changes` in fleet.toml.

    `waits`: until all are ready.
    """
    folder = Path(tempfile.mkdtemp(prefix="bi-", dir="/tmp"))
    try:
        make_home(folder, free_port(), changes)
        settings = load(env={**environment, "BARGEIN_HOME": str(folder)})
        made = Fleet(folder, settings, ready_s)
        made.supervisor.start(environment)
        try:
            if waits:
                made.wait_ready()
            yield made
        finally:
            made.supervisor.shutdown()
    finally:
        shutil.rmtree(folder)
