"""A trace goes in, the same without its sound comes out: `python tests/data/strip.py IN OUT`."""

from __future__ import annotations

import sys
from pathlib import Path

from bus.recording import Writer, read_trace
from bus.wiretap import Heard


def strip(source: Path, target: Path) -> None:
    """Header, events and CANCELs stay; what a call hangs on is of no use in a test."""
    trace = read_trace(source)
    with target.open("wb") as file:
        writer = Writer(file, **trace.header)
        for record in trace.records:
            if record.lane != "media":
                writer.write(Heard(record.at_ns, record.lane, record.frames))


if __name__ == "__main__":
    strip(Path(sys.argv[1]), Path(sys.argv[2]))
