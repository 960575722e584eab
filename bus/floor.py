"""What `bargein preflight llm-floor` has measured goes in and out of var/llm-floor.json."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

NAME = "llm-floor.json"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of `n` cancels: ms from closing the connection until the server took up the next request."""

    n: int
    p50_ms: float
    p95_ms: float
    max_ms: float


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """Which file the model was read from: links followed, its size, its time in ns since 1970."""

    path: str
    size_bytes: int
    changed_ns: int

    @classmethod
    def at(cls, path: Path) -> ModelFile | None:
        """The file there now, if there is one."""
        try:
            found = path.resolve()
            stat = found.stat()
        except OSError:
            return None
        return cls(path=str(found), size_bytes=stat.st_size, changed_ns=stat.st_mtime_ns)


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """How long this machine's model takes to let go. `at`: local time, ISO 8601.

    `idle`: the same request when there was nothing to cancel. `cases`: "decode" and "prefill", each
    "alone" and "beside another". `file`: of the fleet's own llama-server; of others nothing is known.
    """

    at: str
    url: str
    model: str
    idle: Figures
    cases: dict[str, Figures]
    file: ModelFile | None = None

    @property
    def floor_ms(self) -> float:
        """The p95 of the slowest case."""
        return max(figures.p95_ms for figures in self.cases.values())


def path_in(home: Path) -> Path:
    return home / "var" / NAME


def write(home: Path, floor: Floor) -> Path:
    """Whole or not at all; where it is."""
    path = path_in(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(floor)) + b"\n")
    fresh.replace(path)
    return path


def stored(home: Path) -> Floor | None:
    """What was measured last, of whatever model; None when nothing, or nothing readable, was."""
    try:
        floor = msgspec.json.decode(path_in(home).read_bytes(), type=Floor)
    except (OSError, msgspec.DecodeError):
        return None
    return floor if floor.cases else None


def read(home: Path, url: str, model: str, file: ModelFile | None = None) -> Floor | None:
    """What was measured of this model, from this `file`, at this address; None when nothing was."""
    floor = stored(home)
    if floor is None or (floor.url, floor.model, floor.file) != (url, model, file):
        return None
    return floor


def leads_to(address: str, host: str, port: int) -> bool:
    """Is it that port of this box?"""
    url = urlsplit(address)
    return url.hostname in {host, "localhost", "127.0.0.1"} and (url.port or 80) == port
