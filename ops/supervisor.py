"""A thin client of supervisord: orders go in, through XML-RPC; what it knows comes out."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import time
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bus.errors import FleetAlreadyRunning, FleetError, FleetNotRunning, PathTooLong

RPC_TIMEOUT_S = 10.0
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 15.0
SOCKET_PATH_MAX = 107 - len(".4194304")
"""supervisord binds a temporary name first: the path, a dot and its pid (up to 7 digits)."""

OUR_MODULES = frozenset(
    {"actors", "bus.broker", "ops.run_llama", "ops.run_responder", "ops.warden"}
)
NOT_RUNNING, BAD_NAME = 70, 10


@dataclass(frozen=True)
class Process:
    """One program as supervisord sees it. `pid` 0: none; `exit_code` -1: killed by a signal."""

    name: str
    state: str
    pid: int
    started_s: int
    exit_code: int


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=RPC_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


class _Transport(xmlrpc.client.Transport):
    """supervisor's own transport waits for ever; a stopped supervisord must not hang us."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _Connection(self._path)
        self._connection = host, connection  # so that the transport closes it
        return connection


class Supervisor:
    """The supervisord of one home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.conf = home / "supervisord.conf"
        self.socket_path = home / "var" / "run" / "supervisor.sock"
        self.pid_path = home / "var" / "run" / "supervisord.pid"
        self.log_dir = home / "var" / "log"
        self._log_sizes = {path.stem: path.stat().st_size for path in self.log_dir.glob("*.log")}
        if len(os.fsencode(self.socket_path)) > SOCKET_PATH_MAX:
            raise PathTooLong(
                f"the path of supervisord's socket has more than {SOCKET_PATH_MAX} bytes "
                f"({self.socket_path}); move the project to a shorter path"
            )

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start supervisord, which starts everything; returns when it answers.

        `environment`: variables for the fleet beside this process's own.
        """
        if self.pid():
            raise FleetAlreadyRunning(
                f"the fleet is running already (supervisord is process {self.pid()}); "
                "see `bargein status`, or stop it with `bargein down`"
            )
        python = self.home / ".venv" / "bin" / "python"
        done = subprocess.run(
            [python, "-P", "-m", "supervisor.supervisord", "-c", self.conf],
            cwd=self.home,
            env={**os.environ, **(environment or {}), "BARGEIN_HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
            raise FleetError(f"supervisord did not start: {said[-1]}; see {self.conf}")
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                self._call("getState")
                return
            except FleetNotRunning:
                time.sleep(0.02)
        raise FleetError(
            f"supervisord did not answer within {START_TIMEOUT_S:g} s; "
            f"see {self.log_dir / 'supervisord.log'}"
        )

    def require(self) -> int:
        """The pid of the living supervisord. Raises FleetNotRunning."""
        if pid := self.pid():
            return pid
        raise FleetNotRunning("the fleet is not running; start it with `bargein up`")

    def shutdown(self) -> None:
        """Stop everything; returns when supervisord and all below it are gone."""
        pid = self.require()
        family = _family(pid)
        try:
            self._call("stopAllProcesses")  # all at once; a bare shutdown takes them one by one
            self._call("shutdown")
            _, left = psutil.wait_procs(family, timeout=STOP_TIMEOUT_S)
        except (FleetError, FleetNotRunning):
            left = family
        end(left)

    def processes(self) -> tuple[Process, ...]:
        """Every program of supervisord.conf, in the order of its names."""
        return tuple(
            Process(
                name=entry["name"],
                state=entry["statename"],
                pid=entry["pid"],
                started_s=entry["start"],
                exit_code=entry["exitstatus"],
            )
            for entry in self._call("getAllProcessInfo")
        )

    def restart(self, name: str) -> None:
        """Stop one program and start it anew."""
        try:
            self._call("stopProcess", name)
        except xmlrpc.client.Fault as fault:
            self._unless(NOT_RUNNING, fault, name)
        self._call("startProcess", name)

    def kill(self, name: str) -> int:
        """SIGKILL a program and its children; supervisord starts it again. Returns the pid."""
        pid = next((p.pid for p in self.processes() if p.name == name), 0)
        if pid:
            kill_group(pid)
        return pid

    def pid(self) -> int:
        """The living supervisord of this home, or 0."""
        try:
            pid = int(self.pid_path.read_text(encoding="ascii"))
            line = psutil.Process(pid).cmdline()
        except (OSError, ValueError, psutil.Error):
            return 0
        return pid if any("supervisord" in word for word in line) else 0

    def environment(self) -> dict[str, str]:
        """What supervisord was started with, which is what a restarted actor gets."""
        try:
            return dict(psutil.Process(self.pid()).environ()) if self.pid() else {}
        except psutil.Error:
            return {}

    def restarts(self) -> dict[str, int]:
        """How often each program was started again, counted in supervisord's own log."""
        spawned: dict[str, int] = {}
        for name in re.findall(r" INFO spawned: '(\w+)' with pid ", self._log_of_this_run()):
            spawned[name] = spawned.get(name, 0) + 1
        return {name: count - 1 for name, count in spawned.items()}

    def _log_of_this_run(self) -> str:
        """The newest files first, until the one that tells of the start."""
        text = ""
        for suffix in ("", ".1", ".2", ".3"):
            path = self.log_dir / f"supervisord.log{suffix}"
            older = path.read_text(errors="replace") if path.exists() else ""
            text = older + text
            _, started, tail = text.rpartition(f" supervisord started with pid {self.pid()}\n")
            if started:
                return tail
        return text

    def log_tail(self, name: str, lines: int = 12) -> list[str]:
        """The last lines a program has printed since this object was made: older ones mislead."""
        try:
            text = (self.log_dir / f"{name}.log").read_bytes()
        except OSError:
            return []
        before = self._log_sizes.get(name, 0)
        new = text[before:] if before <= len(text) else text  # shorter than before: rotated
        return new.decode(errors="replace").splitlines()[-lines:]

    def _call(self, method: str, *arguments: str) -> Any:
        proxy = xmlrpc.client.ServerProxy("http://localhost", _Transport(self.socket_path))
        try:
            with proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except (FileNotFoundError, ConnectionRefusedError):
            raise FleetNotRunning("the fleet is not running; start it with `bargein up`") from None
        except (OSError, http.client.HTTPException) as error:
            raise FleetError(
                f"supervisord does not answer ({error or type(error).__name__}); "
                "`bargein down` stops it by force"
            ) from None

    def _unless(self, accepted: int, fault: xmlrpc.client.Fault, name: str) -> None:
        if fault.faultCode == accepted:
            return
        if fault.faultCode == BAD_NAME:
            known = ", ".join(process.name for process in self.processes())
            raise FleetError(f"there is no actor {name!r}; known: {known}")
        raise FleetError(f"supervisord refused: {fault.faultString}; see `bargein status`")


def leftovers(home: Path) -> list[psutil.Process]:
    """Processes of this home that have lost their supervisord (it was killed)."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if _is_ours(process, home) and process.ppid() == 1
    ]


def _is_ours(process: psutil.Process, home: Path) -> bool:
    """Started by supervisord.conf of this home: its python, its -P -m MODULE."""
    line = process.info["cmdline"] or []
    if line[1:3] != ["-P", "-m"] or line[3] not in OUR_MODULES:
        return False
    try:
        return bool(process.environ().get("BARGEIN_HOME") == str(home))
    except psutil.Error:
        return False


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end(processes: list[psutil.Process]) -> None:
    """SIGKILL what did not end by itself, parents first, so that none is started again; wait."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(processes, timeout=5)
    if alive:
        pids = ", ".join(str(process.pid) for process in alive)
        raise FleetError(f"these processes can't be killed: {pids}; see `ps -o state {pids}`")


def kill_group(pid: int) -> None:
    """SIGKILL a child of supervisord; it leads a group, so its own children go with it."""
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
