"""What `bargein preflight llm-floor` has measured goes in and out of var/llm-floor.json."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

NAME = "llm-floor.json"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of `n` cancels: ms from closing the connection until the server took up the next request."""

    n: int
    p50_ms: float
    p95_ms: float
    max_ms: float


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """How long this machine's model takes to let go. `at`: local time, ISO 8601.

    `idle`: the same request when there was nothing to cancel. `cases`: "decode" and "prefill", each
    "alone" and "beside another".
    """

    at: str
    url: str
    model: str
    idle: Figures
    cases: dict[str, Figures]

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


def read(home: Path, url: str, model: str) -> Floor | None:
    """What was measured of this model at this address; None when nothing, or nothing readable, was."""
    try:
        floor = msgspec.json.decode(path_in(home).read_bytes(), type=Floor)
    except (OSError, msgspec.DecodeError):
        return None
    return floor if (floor.url, floor.model) == (url, model) and floor.cases else None
