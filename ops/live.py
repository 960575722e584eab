"""The live trace of a call: messages heard on the bus go in, one readable line each comes out."""

from __future__ import annotations

import threading
from types import TracebackType

from rich.console import Console

from bus.recording import decode
from bus.wiretap import Heard
from ops.tap_view import line, words
from schemas import CallClosed, CallOpened


class Live:
    """Prints lines as they come, timed from the first; safe to be called from the recorder's thread."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._lock = threading.Lock()
        self._began_ns = 0

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is held."""

    def show(self, heard: Heard) -> None:
        """One message; sound, heartbeats and what has no words are passed over."""
        if self._quiet or heard.lane == "media":
            return
        record = decode(heard)
        event = record.event
        if event is None or not event.call or words(event) is None:
            return
        if isinstance(event, CallOpened | CallClosed):
            return
        with self._lock:
            self._began_ns = self._began_ns or heard.at_ns
            self._console.print(line(record, self._began_ns, latency=False))
