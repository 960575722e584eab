"""Sound of one channel that is in the journal, for who missed it; its keeper may be away for a while."""

from __future__ import annotations

from actors.doors import PIECE, Sounds
from bus.clock import Clock
from bus.errors import NoAnswer
from engines.protocols import EngineError
from schemas import Replayed

REPLAY_S = 10.0
"""How long audio_in may be away before sound it alone has is given up."""
AGAIN_S = 0.1
"""Until it is asked again, when it has said no."""


class KeptSound:
    """Positions are samples at 16 kHz. Where there is no journal (`sounds` None), it has nothing."""

    def __init__(self, call: str, channel: int, sounds: Sounds | None, clock: Clock) -> None:
        self._call, self._channel, self._sounds, self._clock = call, channel, sounds, clock

    @property
    def has_journal(self) -> bool:
        """Whether it can have anything."""
        return self._sounds is not None

    async def piece(self, first: int, most: int, patience_s: float = REPLAY_S) -> Replayed | None:
        """What there is from `first` on, at most `most` samples. Raises NoAnswer when nobody answers."""
        if self._sounds is None:
            return None
        until_ns = self._clock.now() + int(patience_s * 1e9)
        while True:
            try:
                return await self._sounds.piece(self._call, self._channel, first, most)
            except NoAnswer:
                if self._clock.now() >= until_ns:
                    raise
            await self._clock.sleep_until(self._clock.now() + int(AGAIN_S * 1e9))

    async def sound(self, first: int, end: int) -> bytes:
        """Samples [first, end), 16-bit; silence for what it does not have. Raises EngineError."""
        sound = bytearray()
        while self._sounds is not None and (at := first + len(sound) // 2) < end:
            try:
                piece = await self.piece(at, min(PIECE, end - at))
            except NoAnswer:
                raise EngineError("audio_in does not answer: its journal is needed") from None
            if piece is None or not piece.pcm or piece.first >= end:
                break
            sound += bytes(2 * (piece.first - at)) + piece.pcm
        return bytes(sound[: 2 * (end - first)]).ljust(2 * (end - first), b"\0")
