"""Recordings: what was heard on the bus goes into a file of msgpack objects, and comes out again.

A trace is a header map, then one array per message: [at_ns, lane, [frame, …]]. Any msgpack
library reads it. A file cut short anywhere is read up to the last whole message.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
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


class Record(NamedTuple):
    """One message of a trace; stamp and event are None when it could not be decoded."""

    at_ns: int
    lane: Lane
    stamp: Stamp | None
    event: Event | None
    frames: list[bytes]


class Writer:
    """Appends messages to a trace."""

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
    with path.open("rb") as file:
        objects = _objects(file)
        header = next(objects, None)
        if not isinstance(header, dict) or header.get("bargein_trace") != FORMAT:
            raise NotATrace(
                f"{path}: not a bargein trace of format {FORMAT}; record one with `bargein record`"
            )
        return header, [decode(heard) for heard in _messages(objects)]


def _objects(file: IO[bytes]) -> Iterator[Any]:
    unpacker = msgpack.Unpacker(file, raw=False, strict_map_key=False)
    try:
        yield from unpacker
    except (ValueError, msgpack.UnpackException, UnicodeDecodeError):
        return  # cut short or damaged here: what came before stands


def _messages(objects: Iterable[Any]) -> Iterator[Heard]:
    for entry in objects:
        if not (isinstance(entry, list) and len(entry) == 3):
            return
        yield Heard(int(entry[0]), cast(Lane, entry[1]), list(entry[2]))


class Recorder(threading.Thread):
    """Writes what is heard into a trace until `stop`; only `call` when one is named."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        where: Endpoints,
        path: Path,
        call: str = "",
        watch: Callable[[Heard], None] | None = None,
    ) -> None:
        super().__init__(name="recorder", daemon=True)
        self._tap = Wiretap(context, where)
        self._path, self._call, self._watch = path, call, watch
        self._done = threading.Event()
        self.count = 0

    def open(self) -> bool:
        """Listening, or False when the broker is silent."""
        return self._tap.open()

    def run(self) -> None:
        ending = b"\0" + self._call.encode()
        with self._path.open("wb") as file:
            writer = Writer(file, call=self._call)
            while not self._done.is_set():
                for heard in self._tap.read(50):
                    if not self._call or heard.frames[0].endswith(ending):
                        writer.write(heard)
                        self.count += 1
                    if self._watch is not None:
                        self._watch(heard)
        self._tap.close()

    def stop(self) -> None:
        """Stop and wait; the trace is whole then."""
        self._done.set()
        self.join()
