"""turn_manager's notebook: calls in progress go into one small file, a successor reads them back.

The file belongs to one life of the fleet: another supervisord's calls are over.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import structlog

from actors.turn_state import Memory
from schemas import CallOpened

log = structlog.get_logger()


class Entry(msgspec.Struct, frozen=True):
    """One call in progress."""

    opened: CallOpened
    memory: Memory


class Page(msgspec.Struct, frozen=True):
    """The file: msgpack, replaced as a whole."""

    fleet: int
    entries: tuple[Entry, ...]


class Notebook:
    """Written at each change of a turn; never fsynced: it outlives the process, not the box."""

    def __init__(self, path: Path, fleet: int | None = None) -> None:
        self._path = path
        self._fleet = os.getppid() if fleet is None else fleet

    def read(self) -> tuple[Entry, ...]:
        """The calls of a predecessor of this life; none when there is nothing usable."""
        try:
            page = msgspec.msgpack.decode(self._path.read_bytes(), type=Page)
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.DecodeError) as error:
            log.error("notebook unreadable; calls in progress are lost", why=str(error))
            return ()
        return page.entries if page.fleet == self._fleet else ()

    def write(self, entries: tuple[Entry, ...]) -> None:
        """Replace the page; a disk that refuses is logged, the calls go on."""
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_bytes(msgspec.msgpack.encode(Page(self._fleet, entries)))
            fresh.replace(self._path)
        except OSError as error:
            log.error("notebook not written; a crash now would lose the calls", why=str(error))
