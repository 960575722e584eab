"""Caller sound and marks of one channel go into segment files, and come out again from any position.

    CALL/CHANNEL/NNNNNN-FIRST.seg     see bus/segment.py; a new one every `segment_bytes`

Written with write(2), never fsynced: what was written outlives the process, whatever kills it. A power
cut loses what the kernel has not yet written back, by its defaults up to 30 s.
When the disk refuses, records wait in memory, the oldest of them dropped beyond `memory_bytes`, and go to
the disk, in order, as soon as it takes them again.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from bus.segment import HEADER_BYTES, MARK, SOUND, NoSegment, Record, encode, header, scan
from schemas import SpeechMark

RETRY_NS = 1_000_000_000
"""How often a disk that refused is tried again."""
_mark_of = msgspec.msgpack.Decoder(SpeechMark).decode
_bytes_of = msgspec.msgpack.Encoder().encode


@dataclass
class Disk:
    """What the journals of a process share: room, whether writing works, and how it is done.

    `write(fd, data)` returns how many bytes it took, or raises OSError.
    """

    limit_bytes: int = 2_000_000_000
    segment_bytes: int = 320_000
    memory_bytes: int = 1_920_000
    now: Callable[[], int] = lambda: 0
    write: Callable[[int, bytes], int] = os.write
    make_room: Callable[[int], None] = lambda needed: None
    changed: Callable[[bool, str], None] = lambda protected, why: None
    damaged: Callable[[Path, str], None] = lambda path, why: None
    used: int = 0
    why: str = ""
    _retry_ns: int = 0
    _waiting: set[int] = field(default_factory=set)

    @property
    def protected(self) -> bool:
        """Nothing waits in memory."""
        return not self._waiting

    @property
    def unprotected(self) -> int:
        """How many channels have sound that is in memory alone."""
        return len(self._waiting)

    def tries(self) -> bool:
        """Whether writing is worth a try now."""
        return not self.why or self.now() >= self._retry_ns

    def has_room(self, size: int) -> bool:
        """Whether `size` bytes more are allowed, after making room."""
        if self.used + size > self.limit_bytes:
            self.make_room(self.used + size - self.limit_bytes)
        return self.used + size <= self.limit_bytes

    def refused(self, why: str) -> None:
        """Writing failed: pause, then try again."""
        self.why, self._retry_ns = why, self.now() + RETRY_NS

    def waits(self, journal: object, waits: bool) -> None:
        """`journal` has records in memory, or none any more; a change of `protected` is told."""
        was = self.protected
        (self._waiting.add if waits else self._waiting.discard)(id(journal))
        if not waits:
            self.why = self.why if self._waiting else ""
        if was is not self.protected:
            self.changed(self.protected, self.why)


class Piece(NamedTuple):
    """Sound in one piece from `first` on, with its marks; `kept_to`: the end of the whole journal."""

    first: int
    pcm: bytes
    marks: tuple[SpeechMark, ...]
    kept_to: int


@dataclass
class _Segment:
    path: Path
    first: int
    end: int
    size: int
    head: int = 0


class Journal:
    """One channel of one call. Not thread-safe."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        """Take up what a predecessor left; damage is reported to `disk.damaged`."""
        self._folder, self._disk = folder, disk
        self._tail: deque[Record] = deque()
        self._tail_bytes = 0
        self._fd = -1
        self._segments: list[_Segment] = []
        self._next_number = 0
        self._last_mark: SpeechMark | None = None
        self._written_mark: Record | None = None
        self.end = 0
        self._take_up()

    # -- writing ---------------------------------------------------------------------------------

    def append(self, first: int, pcm: bytes) -> None:
        """Keep samples (mono int16 at 16 kHz); what is known already is skipped."""
        known = self.end - first
        if known > 0:
            first, pcm = self.end, pcm[2 * known :]
        if pcm:
            self.end = first + len(pcm) // 2
            self._keep(Record(SOUND, first, pcm))

    def mark(self, mark: SpeechMark) -> None:
        """Keep where speech begins, goes on or ends."""
        self._last_mark = mark
        self._keep(Record(MARK, mark.at, _bytes_of(mark)))

    def _keep(self, record: Record) -> None:
        if not self._tail and self._disk.tries() and self._write(record):
            return
        self._tail.append(record)
        self._tail_bytes += len(record.body)
        while self._tail_bytes > self._disk.memory_bytes:
            self._tail_bytes -= len(self._tail.popleft().body)
        self._disk.waits(self, True)
        self.retry()

    def retry(self) -> None:
        """Move to the disk what waits in memory, if it is time to try."""
        if not self._tail or not self._disk.tries():
            return
        while self._tail:
            if not self._write(self._tail[0]):
                return
            self._tail_bytes -= len(self._tail.popleft().body)
        self._disk.waits(self, False)

    def _write(self, record: Record) -> bool:
        """Whether the record is on disk, whole."""
        data = encode(record)
        try:
            segment = self._segment(record.at, len(data))
            taken = self._disk.write(self._fd, data)
            if taken < len(data):
                raise OSError(f"the disk took {taken} of {len(data)} bytes")
        except OSError as error:
            self._disk.refused(error.strerror or str(error))
            self._abandon()
            return False
        segment.end = max(segment.end, record.end)
        segment.size += len(data)
        if record.kind == MARK:
            self._written_mark = record
        self._disk.used += len(data)
        return True

    def _segment(self, at: int, size: int) -> _Segment:
        """The one to write to; raises OSError when there is no room."""
        if not self._disk.has_room(size + HEADER_BYTES):
            raise OSError(f"the journal has reached its limit of {self._disk.limit_bytes} bytes")
        if self._fd >= 0 and self._segments[-1].size < self._disk.segment_bytes:
            return self._segments[-1]
        self._leave()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self._next_number:06d}-{at:015d}.seg"
        self._next_number += 1
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        head = header(at)
        if self._written_mark is not None:  # earlier segments may go; that speech lasts stays known
            head += encode(self._written_mark)
        segment = _Segment(path, at, at, 0)
        self._segments.append(segment)
        if self._disk.write(self._fd, head) < len(head):
            raise OSError("the disk is full")
        segment.size = segment.head = len(head)
        self._disk.used += len(head)
        return segment

    def _leave(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _abandon(self) -> None:
        """Cut off what was written in part; the next record begins another segment."""
        if self._fd < 0:
            return
        segment = self._segments[-1]
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, segment.size)
        self._leave()
        if segment.size <= segment.head:
            self._segments.pop()
            self._disk.used -= segment.size
            with contextlib.suppress(OSError):
                segment.path.unlink()

    # -- reading ---------------------------------------------------------------------------------

    @property
    def first(self) -> int:
        """The first sample still kept; `end` when none is."""
        if self._segments:
            return self._segments[0].first
        return self._tail[0].at if self._tail else self.end

    @property
    def on_disk_to(self) -> int:
        """Samples before it are on disk, as far as the disk ever took them."""
        return self._tail[0].at if self._tail else self.end

    @property
    def last_mark(self) -> SpeechMark | None:
        """The newest mark."""
        return self._last_mark

    def read(self, first: int, most: int) -> Piece:
        """At most `most` samples from `first` on, and the marks told between them; see `Replayed`."""
        at, sound, marks = first, bytearray(), list[SpeechMark]()
        for record in self._from(first):
            if len(sound) >= 2 * most:
                break
            if record.kind == MARK:
                if record.at >= first:
                    marks.append(_mark_of(record.body))
                continue
            if record.end <= at:
                continue
            if record.at > at:
                if sound:
                    break  # a hole ends the piece, and the next one begins behind it
                first = at = record.at
            sound += record.body[2 * (at - record.at) :]
            at = record.end
        del sound[2 * most :]
        end = first + len(sound) // 2
        told = tuple(dict.fromkeys(mark for mark in marks if mark.at <= end))
        return Piece(first if sound else max(first, self.end), bytes(sound), told, self.end)

    def _from(self, position: int) -> Iterator[Record]:
        for segment in list(self._segments):
            if segment.end >= position:
                yield from self._records(segment.path)
        yield from list(self._tail)

    def _records(self, path: Path) -> list[Record]:
        try:
            return scan(path.read_bytes()).records
        except (OSError, NoSegment) as error:
            self._disk.damaged(path, str(error))
            return []

    # -- what a predecessor left -----------------------------------------------------------------

    def _take_up(self) -> None:
        for path in _listed(self._folder, self._disk):
            if path.suffix != ".seg" or not path.name[:6].isdecimal():
                self._disk.damaged(path, "a foreign file in the journal; left alone")
                continue
            self._next_number = max(self._next_number, int(path.name[:6]) + 1)
            self._take_up_segment(path)

    def _take_up_segment(self, path: Path) -> None:
        try:
            data = path.read_bytes()
            found = scan(data)
        except (OSError, NoSegment) as error:
            self._disk.damaged(path, getattr(error, "strerror", None) or str(error))
            self._clear_away(path)
            return
        if found.problem:
            self._disk.damaged(path, found.problem)
        end = max((record.end for record in found.records), default=found.first)
        for record in found.records:
            if record.kind == MARK:
                self._last_mark, self._written_mark = _mark_of(record.body), record
        self._segments.append(_Segment(path, found.first, end, len(data)))
        self._disk.used += len(data)
        self.end = max(self.end, end)

    def _clear_away(self, path: Path) -> None:
        """A file that a crash left without so much as a header holds nothing."""
        with contextlib.suppress(OSError):
            if path.stat().st_size < HEADER_BYTES:
                path.unlink()

    # -- the end ---------------------------------------------------------------------------------

    def release(self, position: int) -> None:
        """Sound before `position` is not wanted any more: remove whole segments, but the last two."""
        while len(self._segments) > 2 and self._segments[0].end <= position:
            segment = self._segments.pop(0)
            with contextlib.suppress(OSError):
                segment.path.unlink()
            self._disk.used -= segment.size

    def close(self) -> None:
        """Let go of the file; what waits in memory is lost with this process."""
        self._leave()
        self._disk.waits(self, False)

    def remove(self) -> None:
        """Nothing of it is wanted any more; foreign files stay."""
        self.close()
        self._tail.clear()
        for segment in self._segments:
            with contextlib.suppress(OSError):
                segment.path.unlink()
            self._disk.used -= segment.size
        self._segments.clear()
        for folder in (self._folder, self._folder.parent):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _listed(folder: Path, disk: Disk) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        disk.damaged(folder, error.strerror or str(error))
        return []
