"""What the caller said goes in, what audio_in has kept goes out; the rest can be sent again. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator


class Unconfirmed:
    """The line's short memory: mono int16 samples, at the line's rate, `limit` of them at most."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._frames: deque[tuple[int, bytes]] = deque()
        self._end = 0

    def add(self, first: int, pcm: bytes) -> None:
        """Samples that were just sent."""
        self._frames.append((first, pcm))
        self._end = first + len(pcm) // 2
        self.confirm(self._end - self._limit)

    def confirm(self, position: int) -> None:
        """Samples before `position` are safe elsewhere, or too old to be kept."""
        while self._frames and self._end_of(self._frames[0]) <= position:
            self._frames.popleft()

    def since(self, first: int, most: int) -> Iterator[tuple[int, bytes]]:
        """What is left from `first` on, in pieces of about `most` samples and at least a frame."""
        piece, begins = bytearray(), 0
        for at, pcm in list(self._frames):
            if at + len(pcm) // 2 <= first:
                continue
            if not piece:
                begins = at
            piece += pcm
            if len(piece) >= 2 * most:
                yield begins, bytes(piece)
                piece = bytearray()
        if piece:
            yield begins, bytes(piece)

    @staticmethod
    def _end_of(frame: tuple[int, bytes]) -> int:
        return frame[0] + len(frame[1]) // 2
