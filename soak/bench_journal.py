"""What keeping the caller's sound costs, and what giving it back yields: real journals on a real disk.

journal   ten channels, a frame each in turn; then all of it is read again in pieces of 5 s
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bus.journal import Disk, Journal
from soak.bench_kit import Result, Row, Tell, percentile, spread

NAME = "journal"
CALLS, SECONDS = 10, 60
FRAME = 320
RATE = 16_000
PIECE = 80_000
BAR_FRAME_MS, BAR_CPU, BAR_REPLAY = 1.0, 2.0, 50.0


def run(tell: Tell, tiny: bool) -> Result:
    """`CALLS` journals of `SECONDS` each."""
    seconds = 1 if tiny else SECONDS
    with tempfile.TemporaryDirectory(prefix="bj-") as folder:
        journals = [Journal(Path(folder) / f"C{call}" / "0", Disk()) for call in range(CALLS)]
        tell(f"writing {CALLS} journals of {seconds} s")
        took_ms, cpu_s = _written(journals, seconds)
        tell("reading them")
        read_s = _read(journals, seconds)
        for journal in journals:
            journal.close()
    rows = [
        *spread(NAME, "a frame of 20 ms kept", took_ms, "ms"),
        Row(
            bench=NAME,
            name="a frame of 20 ms kept, p99, bar",
            value=percentile(took_ms, 99),
            unit="ms",
            bar=BAR_FRAME_MS,
        ),
        Row(
            bench=NAME,
            name=f"CPU for {CALLS} calls",
            value=100 * cpu_s / seconds,
            unit="% core",
            bar=BAR_CPU,
        ),
        Row(
            bench=NAME,
            name="replay",
            value=CALLS * seconds / read_s,
            unit="times real time",
            bar=BAR_REPLAY,
            sense=">=",
        ),
    ]
    return Result(bench=NAME, rows=tuple(rows))


def _written(journals: list[Journal], seconds: int) -> tuple[list[float], float]:
    """ms of each frame, and CPU s of all."""
    took_ms, cpu = [], time.process_time()
    for number in range(seconds * RATE // FRAME):
        sound = number.to_bytes(2, "little") * FRAME
        for journal in journals:
            began = time.perf_counter()
            journal.append(number * FRAME, sound)
            took_ms.append((time.perf_counter() - began) * 1000)
    return took_ms, time.process_time() - cpu


def _read(journals: list[Journal], seconds: int) -> float:
    """s to get everything back, as a restarted stt does."""
    began = time.perf_counter()
    for journal in journals:
        at = 0
        while at < seconds * RATE:
            piece = journal.read(at, PIECE)
            at = piece.first + len(piece.pcm) // 2
    return time.perf_counter() - began
