"""The transcript of a call on disk: segments go in, a file of JSON lines comes out, and is read back.

A line is written whole or not at all as far as readers are concerned: what a crash cut off is cut away
by the next writer. Never fsynced: it outlives the process, not a power cut.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from actors.segments import Segment

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Segment).decode


class Transcript:
    """One call. `segments` is all that was said so far, in the order of the file."""

    def __init__(self, path: Path | None) -> None:
        """Takes up what a predecessor wrote; `path` None keeps it in memory."""
        self._path = path
        self._waiting: list[bytes] = []
        self.problem = ""
        self.segments: list[Segment] = []
        if path is not None and path.exists():
            self.segments, good, self.problem = read(path)
            if good < path.stat().st_size:
                os.truncate(path, good)

    def add(self, *segments: Segment) -> bool:
        """Write; False when the disk refuses: it is tried again with the next ones."""
        self.segments += segments
        self._waiting += [_encode(segment) + b"\n" for segment in segments]
        if self._path is None or not self._waiting:
            self._waiting.clear()
            return True
        try:
            self._write(self._path, b"".join(self._waiting))
        except OSError as error:
            self.problem = error.strerror or str(error)
            return False
        self._waiting.clear()
        self.problem = ""
        return True

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(fd).st_size
            if os.write(fd, data) < len(data):
                os.ftruncate(fd, size)
                raise OSError("the disk is full")
        finally:
            os.close(fd)


def read(path: Path) -> tuple[list[Segment], int, str]:
    """The segments, the bytes that are good, and why it ends there ("" at the file's end)."""
    data = path.read_bytes()
    found: list[Segment] = []
    good = 0
    for line in data.splitlines(keepends=True):
        try:
            segment = _decode(line)
        except msgspec.DecodeError as error:
            return found, good, f"unreadable from byte {good} on: {error}"
        if not line.endswith(b"\n"):
            return found, good, f"cut off at byte {good}"
        found.append(segment)
        good += len(line)
    return found, good, ""
