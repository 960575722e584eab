"""Orders to do harm: a word from outside goes in through a socket, and something in this process obeys it.

Only `python -m soak.chaos.actor` listens: nothing of this is in a fleet that `bargein up` starts.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()
LONGEST = 4096
HARNESS = "harness"


def address(run_dir: Path, name: str) -> str:
    """Where `name` listens."""
    return str(run_dir / f"chaos-{name}")


def send(run_dir: Path, name: str, **order: object) -> bool:
    """Give an order; False when nobody is there to take it."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as out:
        try:
            out.sendto(json.dumps(order).encode(), address(run_dir, name))
        except OSError:
            return False
    return True


class Orders(threading.Thread):
    """What this process is to suffer. `take(at)` is asked by engines; the rest is done here.

    `raise`, `hang`, `garbage` wait until the engine is next at `at`. `slow` makes each write(2) to a file
    take `ms` longer for `for_s`. `reset` shuts down every stream socket of the process. `wall` moves its
    wall clock by `s`.
    """

    def __init__(self, run_dir: Path, name: str) -> None:
        super().__init__(name="chaos", daemon=True)
        self._run_dir, self._name = run_dir, name
        self._waiting: Counter[tuple[str, str]] = Counter()
        self._slow_until = self._slow_s = 0.0
        self._wall_ns = 0
        path = address(run_dir, name)
        with suppress(FileNotFoundError):
            os.unlink(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._write, self._time, self._time_ns = os.write, time.time, time.time_ns

    def replace(self) -> None:
        """The three things no signal can do to a process from outside; all else is real."""
        os.write = self._slow_write  # type: ignore[assignment] # the same call, later
        time.time = lambda: self._time() + self._wall_ns / 1e9
        time.time_ns = lambda: self._time_ns() + self._wall_ns

    def _slow_write(self, fd: int, data: bytes) -> int:
        """As a disk that is busy: the thread that writes waits in the call."""
        if time.monotonic() < self._slow_until and stat.S_ISREG(os.fstat(fd).st_mode):
            time.sleep(self._slow_s)
        return self._write(fd, data)

    def run(self) -> None:
        while True:
            try:
                order = json.loads(self._socket.recv(LONGEST))
                self._obey(order)
            except (ValueError, KeyError, OSError) as error:
                log.warning("order not understood", error=repr(error))

    def _obey(self, order: dict[str, object]) -> None:
        what = str(order["do"])
        if what == "slow":
            self._slow_s = float(str(order["ms"])) / 1000
            self._slow_until = time.monotonic() + float(str(order["for_s"]))
        elif what == "reset":
            log.warning("connections reset", count=reset_all())
        elif what == "wall":
            self._wall_ns += int(float(str(order["s"])) * 1e9)
        else:
            self._waiting[what, str(order["at"])] += 1

    def take(self, at: str) -> str:
        """What is to happen here now: `raise`, `hang`, `garbage`, or "". Each order counts once."""
        if not self._waiting:
            return ""
        for (what, where), count in list(self._waiting.items()):
            if where == at and count:
                self._waiting[what, where] -= 1
                self._waiting += Counter()  # drops what is used up
                self._note(what, at)
                return what
        return ""

    def _note(self, what: str, at: str) -> None:
        """Which orders were really carried out."""
        send(self._run_dir, HARNESS, actor=self._name, did=what, at=at)


class Told(threading.Thread):
    """What the harmed processes tell of themselves. No file: their disk may be full."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__(name="chaos-told", daemon=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address(run_dir, HARNESS))
        self._run_dir = run_dir
        self.notes: list[dict[str, Any]] = []

    def run(self) -> None:
        while note := json.loads(self._socket.recv(LONGEST)):
            self.notes.append(note)

    def close(self) -> None:
        """Take what has come, then end."""
        send(self._run_dir, HARNESS)
        self.join()
        self._socket.close()


def reset_all() -> int:
    """Shut down every connected stream socket of this process, whoever owns it; how many.

    The peers see the end of the stream, as when a connection is reset; the owner finds out by itself.
    """
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            fd = os.dup(int(name))
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.close(fd)
                continue
            with closing(socket.socket(fileno=fd)) as one:
                if one.type == socket.SOCK_STREAM and _has_peer(one):
                    one.shutdown(socket.SHUT_RDWR)
                    count += 1
    return count


def _has_peer(one: socket.socket) -> bool:
    """Connected to another process: not a wake-up pair of our own, and not supervisord's pipe."""
    try:
        peer = one.getpeername()
    except OSError:
        return False
    if one.family != socket.AF_UNIX:
        return True
    return bool(peer or one.getsockname())
