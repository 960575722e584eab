"""Where the words of a synthesis are, from a voice that does not say: text and samples in, words out. Pure.

Each word gets a share of the sound after its length in characters; a comma or full stop counts as three.
How many samples a character takes is learnt from each sentence that was made to its end. The estimate is
checked against espeak, which knows its words, in tests/test_pacing.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from engines.protocols import Spoken

PAUSES = ",.;:!?…"
PAUSE = 3
LEARNING = 0.3


@dataclass
class Pace:
    """Of a voice. `samples`: per character."""

    samples: float

    def learn(self, text: str, total: int) -> None:
        """A whole text took `total` samples."""
        if weight := sum(_weights(text.split())):
            self.samples += LEARNING * (total / weight - self.samples)


class Pacing:
    """One synthesis."""

    def __init__(self, text: str, pace: Pace) -> None:
        self._words = text.split()
        self._weights = _weights(self._words)
        self._pace = pace.samples
        self._next = 0
        self._end = 0.0

    def until(self, made: int) -> tuple[Spoken, ...]:
        """The words of which half is within the first `made` samples, and were not told yet.

        None is told to end later: the sound may be at its end sooner than was thought.
        """
        told = []
        while self._next < len(self._words):
            samples = self._pace * self._weights[self._next]
            if self._end + samples / 2 >= made:
                break
            told.append(self._tell(samples, made))
        return tuple(told)

    def rest(self, total: int) -> tuple[Spoken, ...]:
        """All others, when the sound has ended at `total`: they share what is left of it."""
        left = sum(self._weights[self._next :])
        if left:
            room = max(0.0, total - self._end) / left
            weights = self._weights[self._next :]
            return tuple(self._tell(room * weight, total) for weight in weights)
        return ()

    def _tell(self, samples: float, most: int) -> Spoken:
        begin, self._end = self._end, self._end + samples
        start, end = min(round(begin), most), min(round(self._end), most)
        word = Spoken(self._words[self._next], start, end)
        self._next += 1
        return word


def _weights(words: list[str]) -> list[int]:
    """In characters, the blank behind a word included."""
    return [len(word) + 1 + PAUSE * (word[-1:] in PAUSES) for word in words]
