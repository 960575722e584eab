"""What one channel hears, in order, each sample once; what is missing is fetched from the journal first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from actors.channel import LONGEST_SILENCE, Channel
from actors.doors import PIECE
from actors.kept_sound import REPLAY_S, KeptSound
from actors.segments import Segment
from bus.errors import NoAnswer
from engines.protocols import EngineError
from schemas import CallerPcm, Event, SpeechContinued, SpeechEnded, SpeechMark, SpeechStarted

log = structlog.get_logger()
RATE = 16_000


class Listener:
    """Frames and marks go into `channel`; positions are samples at 16 kHz.

    `failed` is told why, when the recogniser behind the channel gives up; the channel's account is right
    by then. `write` gets a segment for sound that is nowhere to be had. `lull`: so many silent samples
    are a lull. `sure_nats`: where the sound alone is so sure, for or against, a second look is spared.
    """

    def __init__(
        self,
        call: str,
        channel: Channel,
        kept: KeptSound,
        lull: int,
        sure_nats: float,
        failed: Callable[[str], None],
        write: Callable[[list[Segment]], None],
    ) -> None:
        self._call, self._channel, self._kept = call, channel, kept
        self._lull, self._sure_nats = lull, sure_nats
        self._failed, self._write = failed, write

    async def take(self, event: Event) -> None:
        """What is missing before it is fetched first; what is known is left. Raises EngineError."""
        if isinstance(event, CallerPcm):
            await self._frame(event)
        elif isinstance(event, SpeechStarted):
            self._channel.started(event.onset)
        elif isinstance(event, SpeechContinued):
            self._channel.paused(event.onset, event.voiced, event.silent, self._lull)
        elif isinstance(event, SpeechEnded):
            if event.end > self._channel.heard_to:
                await self.catch_up(event.end)
            unsure = abs(event.floor) < self._sure_nats and not event.masked
            masked_at = event.end if event.masked else None
            self._channel.ended(event.onset, event.voiced, unsure, masked_at)

    async def catch_up(self, to: int | None, patience_s: float = REPLAY_S) -> None:
        """Ask the journal for what comes after the last known sample, up to `to` or to its end."""
        while self._kept.has_journal and (to is None or self._channel.heard_to < to):
            try:
                piece = await self._kept.piece(self._channel.heard_to, PIECE, patience_s)
            except NoAnswer:
                return
            if piece is None or not piece.pcm:
                return
            self._give_up(piece.first)
            at = piece.first
            for mark in piece.marks:
                cut = max(at, min(mark.at, piece.end))
                self._hear(at, piece.pcm[2 * (at - piece.first) : 2 * (cut - piece.first)])
                at = cut
                self._mark(mark)
            self._hear(at, piece.pcm[2 * (at - piece.first) :])
            await asyncio.sleep(0)

    def end(self) -> None:
        """Nothing more will be heard: whoever speaks has ended."""
        self._guarded(self._channel.ended)

    async def _frame(self, frame: CallerPcm) -> None:
        if frame.first > self._channel.heard_to:
            await self.catch_up(frame.first)
            self._give_up(frame.first)
        self._follow(frame)
        self._hear(frame.first, frame.pcm)

    def _follow(self, frame: CallerPcm) -> None:
        """What a frame tells of speech is known, unless an event of the other lane was lost."""
        if frame.onset >= 0:
            self._guarded(lambda: self._channel.started(frame.onset))
            if frame.ended:
                self._guarded(lambda: self._channel.ended(frame.onset, frame.voiced))

    def _mark(self, mark: SpeechMark) -> None:
        if mark.kind == "started":
            self._guarded(lambda: self._channel.started(mark.onset))
        elif mark.kind == "ended":
            self._guarded(lambda: self._channel.ended(mark.onset, mark.voiced))

    def _hear(self, first: int, pcm: bytes) -> None:
        self._guarded(lambda: self._channel.frame(first, pcm))

    def _guarded(self, step: Callable[[], None]) -> None:
        """The account is right before the recogniser has a say: its death costs no position."""
        try:
            step()
        except EngineError as error:
            self._failed(str(error))

    def _give_up(self, first: int) -> None:
        """Samples before `first` are nowhere to be had: silence takes their place, and it is said."""
        start = self._channel.heard_to
        if first <= start:
            return
        if self._kept.has_journal:
            log.error("caller sound is lost", call_id=self._call, first=start, to=first)
            number = self._channel.number
            self._write([Segment(channel=number, start=start, end=first, kind="lost")])
        if first - start > LONGEST_SILENCE:
            self._guarded(lambda: self._channel.skip(first))
        while (left := first - self._channel.heard_to) > 0:
            self._hear(self._channel.heard_to, bytes(2 * min(left, RATE)))
