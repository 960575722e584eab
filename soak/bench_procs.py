"""Child processes of a bench: a module and its arguments go in, lines of JSON and CPU seconds come out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bus.errors import BargeinError

END_S = 5.0
AS_SUPERVISED = {"OPENBLAS_NUM_THREADS": "1"}
"""What supervisord.conf gives to each process of a fleet."""
PATIENCE_S = 120.0
"""A process that is silent for longer is killed: a bench ends, whatever happens."""


class ChildFailed(BargeinError):
    """A process of the bench ended before its time; its last words are in the message."""

    exit_code = 70


class Child:
    """One process: `PYTHON -P -m MODULE ARGUMENTS`, told and telling by lines of JSON."""

    def __init__(
        self,
        home: Path,
        name: str,
        module: str,
        *arguments: str,
        python: str = sys.executable,
        **env: str,
    ) -> None:
        self.name = name
        self._log = (home / "var" / "log" / f"{name}.bench.log").open("wb+")
        self._process = subprocess.Popen(
            [python, "-P", "-m", module, *arguments],
            env={**os.environ, **AS_SUPERVISED, "BARGEIN_HOME": str(home), **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def tell(self, message: Any) -> None:
        """Send one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def hear(self, timeout_s: float = PATIENCE_S) -> Any:
        """The next line it prints. Raises ChildFailed when there will be none, or none in time."""
        assert self._process.stdout is not None
        killer = threading.Timer(timeout_s, self._process.kill)
        killer.start()
        try:
            while line := self._process.stdout.readline():
                if line.startswith(("{", "[")):
                    return json.loads(line)
        finally:
            killer.cancel()
        self._process.wait(END_S)
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines() or ["nothing"]
        raise ChildFailed(f"{self.name} ended with {self._process.returncode}: {said[-1]}")

    def end(self) -> None:
        """SIGTERM, or SIGKILL for who does not mind that; wait."""
        self._process.terminate()
        try:
            self._process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._log.close()


@contextmanager
def children(makers: Iterable[Callable[[], Child]]) -> Iterator[list[Child]]:
    """Start them all at once; end them all, whatever happens."""
    started: list[Child] = []
    try:
        for make in makers:
            started.append(make())
        yield started
    finally:
        for child in started:
            child.end()


def cpu_s(pid: int) -> float:
    """CPU seconds a process and those below it have used, in user and kernel mode."""
    total = 0.0
    for process in family(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def memory(pid: int) -> tuple[float, float]:
    """RSS and PSS in MB (10^6 bytes) of a process alone; shared pages count in PSS by their share."""
    full = psutil.Process(pid).memory_full_info()
    return full.rss / 1e6, full.pss / 1e6


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
