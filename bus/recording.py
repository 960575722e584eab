"""Recordings: what was heard on the bus goes into a file of msgpack objects, and comes out again.

A trace is a header map, then one array per message: [at_ns, lane, [frame, …]]. Any msgpack
library reads it. A file cut short anywhere is read up to the last whole message. The header's
`settings` are those in force at turn_manager, so that a replay can decide alike.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import msgpack
import zmq

from bus.endpoints import Endpoints
from bus.errors import BargeinError, WireError
from bus.wire import Lane, unpack
from bus.wiretap import Heard, Wiretap
from schemas import WIRE_VERSION, Event, Stamp

FORMAT = 1


class NotATrace(BargeinError):
    """The file is no recording of this version."""

    exit_code = 65


class RecordingFailed(BargeinError):
    """The trace can't be written; what was written before stands."""

    exit_code = 73


class Record(NamedTuple):
    """One message of a trace; stamp and event are None when it could not be decoded."""

    at_ns: int
    lane: Lane
    stamp: Stamp | None
    event: Event | None
    frames: list[bytes]


class Trace(NamedTuple):
    """A whole trace; `damage` says in words where reading had to stop, empty when it did not."""

    header: dict[str, Any]
    records: list[Record]
    damage: str = ""


class Writer:
    """Appends messages to a trace. `header` overrides the fields that are filled in."""

    def __init__(self, file: IO[bytes], **header: Any) -> None:
        self._file = file
        head = {"bargein_trace": FORMAT, "wire": WIRE_VERSION, "wall_ns": time.time_ns()}
        file.write(msgpack.packb({**head, "monotonic_ns": time.monotonic_ns(), **header}))

    def write(self, heard: Heard) -> None:
        """One message."""
        self._file.write(msgpack.packb([heard.at_ns, heard.lane, heard.frames]))


def decode(heard: Heard) -> Record:
    """With event and stamp, where the frames are any."""
    try:
        event, stamp = unpack(heard.frames)
    except WireError:
        return Record(heard.at_ns, heard.lane, None, None, heard.frames)
    return Record(heard.at_ns, heard.lane, stamp, event, heard.frames)


def read(path: Path) -> tuple[dict[str, Any], list[Record]]:
    """Header and messages. Raises NotATrace with what to do."""
    trace = read_trace(path)
    return trace.header, trace.records


def read_trace(path: Path) -> Trace:
    """All that can be read, and what could not. Raises NotATrace with what to do."""
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except OSError as error:
        raise NotATrace(f"{path}: can't be read ({error.strerror}); name a trace file") from None


def _read(file: IO[bytes], path: Path) -> Trace:
    unpacker = msgpack.Unpacker(file, raw=False, strict_map_key=False)
    header = _next(unpacker)
    if not isinstance(header, dict) or header.get("bargein_trace") != FORMAT:
        raise NotATrace(
            f"{path}: not a bargein trace of format {FORMAT}; record one with `bargein record`"
        )
    records = []
    while (heard := _message(_next(unpacker))) is not None:
        records.append(decode(heard))
        whole = unpacker.tell()
    size = path.stat().st_size
    whole = unpacker.tell() if not records else whole
    damage = ""
    if whole < size:
        damage = (
            f"cut short or damaged after {whole} of {size} bytes ({len(records)} messages read)"
        )
    return Trace(header, records, damage)


def _next(unpacker: msgpack.Unpacker) -> Any:
    """The next object; None at the end, or where the file is damaged."""
    try:
        return next(unpacker, None)
    except (ValueError, msgpack.UnpackException, UnicodeDecodeError):
        return None


def _message(entry: Any) -> Heard | None:
    match entry:
        case [int(at_ns), ("control" | "events" | "media") as lane, list(frames)] if all(
            isinstance(frame, bytes) for frame in frames
        ):
            return Heard(at_ns, cast(Lane, lane), frames)
    return None


class Recorder(threading.Thread):
    """Writes what is heard into a trace until `stop`; only `call` when one is named.

    It ends by itself when the file takes no more: `error` says why then, and `stop` raises it.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        where: Endpoints,
        path: Path,
        call: str = "",
        watch: Callable[[Heard], None] | None = None,
        header: dict[str, Any] | None = None,
        media: bool = True,
    ) -> None:
        super().__init__(name="recorder", daemon=True)
        self._tap = Wiretap(context, where, media)
        self._path, self._call, self._watch = path, call, watch
        self._header = {"call": call, **(header or {})}
        self._done = threading.Event()
        self.count = self.bytes = 0
        self.error = ""

    def open(self) -> bool:
        """Listening, or False when the broker is silent."""
        return self._tap.open()

    def run(self) -> None:
        try:
            with self._path.open("wb", buffering=0) as file:
                self._record(file)
        except OSError as error:
            kept = f"; the {self.count} messages before are whole" if self.count else ""
            self.error = (
                f"{self._path}: can't be written ({error.strerror}){kept}; "
                "make room or choose another file"
            )
        finally:
            self._tap.close()

    def _record(self, file: IO[bytes]) -> None:
        """A burst is written at once: a kill loses 50 ms at most."""
        buffer = io.BytesIO()
        writer = Writer(buffer, **self._header)
        ending = b"\0" + self._call.encode()
        while not self._done.is_set():
            count = 0
            for heard in self._tap.read(50):
                if not self._call or heard.frames[0].endswith(ending):
                    writer.write(heard)
                    count += 1
                if self._watch is not None:
                    self._watch(heard)
            self._flush(buffer, file)
            self.count += count

    def _flush(self, buffer: io.BytesIO, file: IO[bytes]) -> None:
        left = buffer.getvalue()
        while left:  # a nearly full disk takes a part
            left = left[file.write(left) :]
        self.bytes = file.tell()
        buffer.seek(0)
        buffer.truncate()

    def stop(self) -> None:
        """Stop and wait; the trace is whole then. Raises RecordingFailed."""
        self._done.set()
        if self.ident is None:  # never started: the broker was silent
            self._tap.close()
            return
        self.join()
        if self.error:
            raise RecordingFailed(self.error)
