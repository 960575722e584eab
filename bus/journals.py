"""Journals of all calls: a folder goes in, a journal per call and channel comes out, within a limit.

    FOLDER/CALL/CHANNEL/*.seg, FOLDER/CALL/done     `done`: all of it was transcribed

Retention `until-transcribed` removes sound when its words are final; `keep` only to make room.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

from bus.journal import Disk, Journal
from schemas import Kept

Retention = Literal["until-transcribed", "keep"]
DONE = "done"
LONGEST_NAME = 120


class Journals:
    """All of one process. Not thread-safe."""

    def __init__(
        self, folder: Path, disk: Disk, retention: Retention = "until-transcribed"
    ) -> None:
        """Counts what is there; what is no journal is reported and left alone."""
        self._folder, self._disk, self._retention = folder, disk, retention
        self._open: dict[tuple[str, int], Journal] = {}
        self._calls: set[str] = set()
        disk.make_room = self._make_room
        for call, channel in list(self._left()):
            if not self._is_done(call):
                self._journal(call, channel)
        disk.used += sum(_size(path) for path in self._finished())

    @property
    def protected(self) -> bool:
        """Whether everything is on disk."""
        return self._disk.protected

    @property
    def figures(self) -> dict[str, float]:
        """For a heartbeat: room taken, and channels whose sound is in memory alone."""
        return {
            "journal_mb": round(self._disk.used / 1e6, 1),
            "unprotected_channels": float(self._disk.unprotected),
        }

    def opened(self, call: str) -> None:
        """The call is in progress."""
        self._calls.add(call)

    def journal(self, call: str, channel: int) -> Journal:
        """The journal of a channel, with what a predecessor left of it."""
        return self._journal(call, channel)

    def known(self, call: str, channel: int) -> Journal | None:
        """The journal of a channel, if there is one."""
        return self._open.get((call, channel))

    def of(self, call: str) -> list[tuple[int, Journal]]:
        """Channels and journals of a call."""
        return [
            (channel, journal) for (name, channel), journal in self._open.items() if name == call
        ]

    def closed(self, call: str) -> None:
        """The call is over; its sound stays until it is transcribed."""
        self._calls.discard(call)
        for _, journal in self.of(call):
            journal.retry()

    def kept(self) -> tuple[Kept, ...]:
        """Whose sound is not known to be transcribed."""
        return tuple(
            Kept(call, channel, journal.first, journal.end, call in self._calls)
            for (call, channel), journal in self._open.items()
        )

    def release(self, call: str, channel: int, position: int, last: bool) -> None:
        """The words before `position` are final; `last`: nothing of the channel is wanted any more."""
        journal = self._open.get((call, channel))
        if journal is None:
            return
        if not last:
            if self._retention == "until-transcribed":
                journal.release(position)
            return
        del self._open[call, channel]
        if self._retention == "until-transcribed":
            journal.remove()
            return
        journal.close()
        if not self.of(call):
            with contextlib.suppress(OSError):
                (self._folder / folder_name(call) / DONE).touch()

    def retry(self) -> None:
        """Try to move to the disk what waits in memory."""
        for journal in self._open.values():
            journal.retry()

    def close(self) -> None:
        """Let go of all files."""
        for journal in self._open.values():
            journal.close()

    def _journal(self, call: str, channel: int) -> Journal:
        if (journal := self._open.get((call, channel))) is None:
            journal = Journal(self._folder / folder_name(call) / str(channel), self._disk)
            self._open[call, channel] = journal
        return journal

    def _left(self) -> Iterator[tuple[str, int]]:
        """Calls and channels a predecessor left."""
        for call in self._listed(self._folder):
            if not call.is_dir():
                self._disk.damaged(call, "a foreign file in the journal; left alone")
                continue
            for channel in self._listed(call):
                if channel.name == DONE:
                    continue
                if channel.name.isdecimal() and channel.is_dir():
                    yield unquote(call.name), int(channel.name)
                else:
                    self._disk.damaged(channel, "a foreign file in the journal; left alone")

    def _listed(self, folder: Path) -> list[Path]:
        try:
            return sorted(folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            self._disk.damaged(folder, error.strerror or str(error))
            return []

    def _is_done(self, call: str) -> bool:
        return (self._folder / folder_name(call) / DONE).exists()

    def _finished(self) -> list[Path]:
        """Folders of calls whose sound is only kept, the oldest first."""
        found = [folder for folder in self._listed(self._folder) if (folder / DONE).exists()]
        return sorted(found, key=lambda folder: (folder / DONE).stat().st_mtime_ns)

    def _make_room(self, needed: int) -> None:
        """What was transcribed goes first, the oldest call first."""
        for folder in self._finished():
            if needed <= 0:
                return
            size = _size(folder)
            shutil.rmtree(folder, ignore_errors=True)
            self._disk.used -= size
            needed -= size


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.seg"))


def folder_name(call: str) -> str:
    """A folder's name for any call: no separator, no dot, not too long."""
    name = quote(call, safe="").replace(".", "%2E") or "%"
    return name if len(name) <= LONGEST_NAME else hashlib.sha256(call.encode()).hexdigest()
