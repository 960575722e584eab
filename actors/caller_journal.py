"""audio_in's journal: sound and marks go in, replays and what may be forgotten come out.

Whether it is protected by the disk, and which files are damaged, is told to the fleet.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from bus.clock import Clock, MonotonicClock
from bus.journal import Disk, Journal
from bus.journals import Journals
from bus.runtime import Runtime
from bus.sections import Journal as JournalSettings
from schemas import (
    AskKept,
    AskReplay,
    Done,
    Event,
    JournalDamaged,
    JournalState,
    KeptList,
    Refused,
    Replayed,
    Transcribed,
)

log = structlog.get_logger()
BYTES_PER_S = 32_000
MOST = 100_000
"""Samples in one answer: its sound must fit a frame."""
RETRY_S = 1.0


class CallerJournal:
    """What audio_in keeps on disk. Without a folder it keeps the last seconds in memory."""

    def __init__(self, folder: Path | None = None, settings: JournalSettings | None = None) -> None:
        self._folder, self._settings = folder, settings or JournalSettings()
        self._runtime: Runtime | None = None
        self._told: set[tuple[str, str]] = set()
        self._clock: Clock = MonotonicClock()
        self._reports: list[Event] = []
        self._retry: asyncio.TimerHandle | None = None

    def attach(self, runtime: Runtime) -> None:
        """Damage and the state of the disk are told without a cause."""
        self._runtime, self._clock = runtime, runtime.clock

    async def load(self) -> None:
        """Read what a predecessor left."""
        self.journals = await asyncio.get_running_loop().run_in_executor(None, self._made)
        self._tell()

    def _made(self) -> Journals:
        settings = self._settings
        disk = Disk(
            limit_bytes=settings.max_mb * 1_000_000 if self._folder else 0,
            segment_bytes=int(settings.segment_s * BYTES_PER_S),
            memory_bytes=int(settings.memory_s * BYTES_PER_S),
            now=self._clock.now,
            changed=self._state if self._folder else lambda protected, why: None,
            damaged=self._damaged,
        )
        return Journals(self._folder or Path("/nonexistent"), disk, settings.retention)

    @property
    def figures(self) -> dict[str, float]:
        """For the heartbeat; none before the journal is loaded, or without a disk."""
        return self.journals.figures if self._folder and hasattr(self, "journals") else {}

    @property
    def on_disk(self) -> bool:
        """Whether there is a disk at all."""
        return self._folder is not None

    def close(self) -> None:
        """Let go of all files."""
        if self._retry is not None:
            self._retry.cancel()
        if hasattr(self, "journals"):
            self.journals.close()

    def of(self, call: str, channel: int) -> Journal:
        """One channel's journal."""
        return self.journals.journal(call, channel)

    def release(self, event: Transcribed) -> None:
        """Words up to a position are final."""
        self.journals.release(event.call, event.channel, event.position, event.last)

    def answer(self, request: Event) -> Event | None:
        """Questions at audio_in's door; None for what is no question about the journal."""
        if isinstance(request, AskReplay):
            return self._replay(request)
        if isinstance(request, AskKept):
            return KeptList(kept=self.journals.kept())
        if isinstance(request, Transcribed):
            self.release(request)
            return Done(detail=f"{request.call} up to {request.position}")
        return None

    def _replay(self, request: AskReplay) -> Event:
        journal = self.journals.known(request.call, request.channel)
        if journal is None:
            return Refused(why=f"no sound of call {request.call!r} is kept", status=404)
        piece = journal.read(request.first, min(request.most, MOST))
        return Replayed(
            call=request.call,
            channel=request.channel,
            first=piece.first,
            pcm=piece.pcm,
            marks=piece.marks,
            kept_to=piece.kept_to,
        )

    # -- what the fleet is told ------------------------------------------------------------------

    def _state(self, protected: bool, why: str) -> None:
        if protected:
            log.warning("caller sound reaches the disk again")
        else:
            log.error("caller sound is in memory alone: not protected", why=why)
        self._report(JournalState(protected=protected, why=why))
        if not protected and self._runtime is not None:
            self._again()

    def _again(self) -> None:
        """Calls may have ended meanwhile: nobody else would try the disk for them."""
        self.journals.retry()
        loop = asyncio.get_running_loop()
        if not self.protected:
            self._retry = loop.call_later(RETRY_S, self._again)

    @property
    def protected(self) -> bool:
        """Whether everything kept is on disk."""
        return self.journals.protected

    def _damaged(self, path: Path, why: str) -> None:
        if (str(path), why) not in self._told:
            self._told.add((str(path), why))
            log.error(
                "journal file damaged; what could not be read is left out", file=str(path), why=why
            )
            self._report(JournalDamaged(file=str(path), why=why))

    def _report(self, event: Event) -> None:
        """May be called while the files are read, in another thread: told when that is done."""
        self._reports.append(event)
        if hasattr(self, "journals"):
            self._tell()

    def _tell(self) -> None:
        while self._reports and self._runtime is not None:
            self._runtime.link.publish(self._reports.pop(0))
