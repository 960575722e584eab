"""The process that owns one Moonshine: `python -P -m engines.moonshine_child PARTIAL_MS`.

What it is told and tells: `engines/decoder_wire.py`. The model hears an utterance as a whole, so for
partial text it hears what there is so far, anew each time. What is longer than PIECE is cut where it
is quietest.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from engines.decoder_wire import SAMPLES_PER_MS, run
from engines.moonshine_model import Moonshine, Written
from engines.protocols import Hypothesis, Spoken

BLOCK_BYTES = 640
"""It is looked at every 20 ms whatever the packets were: equal sound, equal text."""
PARTIAL_SAMPLES = 300 * SAMPLES_PER_MS
GROWTH = 0.15
"""A partial is looked for when there is so much more: it costs seven times what one look does, at most."""
PIECE, LATER = 12_000 * SAMPLES_PER_MS, 6_000 * SAMPLES_PER_MS
"""Samples: longer ones are cut, not before LATER."""
QUIET = 200 * SAMPLES_PER_MS
"""Samples that must be quiet where it is cut."""
UNSURE = -0.9
"""Nats a token: of speech it was never less sure (97 shipped clips: -0.83)."""
NOISE = "you"
"""What it writes of knocks, keyboards, breath and hiss, often surely."""
EDGES = string.punctuation.replace("'", "") + "\u2026\u2013\u2014\u201c\u201d"
FLOOR_DB = 30.0
"""A frame so far below the loudest is no part of a word."""


def plain(text: str) -> str:
    """Small letters, and no punctuation round words: as other recognisers write."""
    return " ".join(filter(None, (word.strip(EDGES) for word in text.lower().split())))


def levels(pcm: bytes, samples: int) -> np.typing.NDArray[np.float64]:
    """RMS of every whole frame of so many samples."""
    sound = np.frombuffer(pcm[: len(pcm) & ~1], np.int16).astype(np.float64)
    frames = sound[: len(sound) // samples * samples].reshape(-1, samples)
    return np.asarray(np.sqrt(np.mean(np.square(frames), axis=1)))


def cut_at(pcm: bytes) -> int:
    """The sample, behind LATER, amid the quietest QUIET."""
    frame = BLOCK_BYTES // 2
    wide = QUIET // frame
    power = np.convolve(np.square(levels(pcm, frame)), np.ones(wide), "valid")
    first = LATER // frame
    return (first + int(np.argmin(power[first:])) + wide // 2) * frame


def spread(text: str, pcm: bytes, first: int) -> list[Spoken]:
    """Where the words of a piece are that begins at `first`: each as long as it has letters.

    The model does not tell. They lie between the first and the last frame that is not quiet.
    """
    words, frame = text.split(), BLOCK_BYTES // 2
    loud = levels(pcm, frame)
    heard = np.flatnonzero(loud >= max(1.0, loud.max(initial=0.0) * 10 ** (-FLOOR_DB / 20)))
    begin, end = (heard[0] * frame, (heard[-1] + 1) * frame) if len(heard) else (0, len(pcm) // 2)
    letters = np.concatenate([[0], np.cumsum([len(word) + 1 for word in words])])
    edges = first + begin + (letters * (end - begin) / max(1, letters[-1])).astype(int)
    return [Spoken(word, int(edges[at]), int(edges[at + 1])) for at, word in enumerate(words)]


class Listener:
    """One utterance after another through a model; positions are samples of the call."""

    def __init__(self, write: Callable[[bytes], Written], partial_samples: int) -> None:
        """`write`: Moonshine, loaded."""
        self._write = write
        self._every = max(partial_samples, PARTIAL_SAMPLES)
        self._utterance = self._first = self._end = self._due = 0
        self._piece = 0
        self._words: list[Spoken] = []
        self._sound = bytearray()
        self._rest = bytearray()
        self._text = ""
        self._settled: Hypothesis | None = None

    def begin(self, utterance: int, first: int) -> None:
        """Start an utterance at sample `first`."""
        self._utterance, self._first, self._end = utterance, first, first
        self._piece, self._due = first, first + self._every
        self._words, self._text, self._settled = [], "", None
        self._sound.clear()
        self._rest.clear()

    def feed(self, pcm: bytes) -> Iterator[Hypothesis]:
        """Keep it; partials whose text is new. While settled nothing is looked for."""
        self._rest += pcm
        while len(self._rest) >= BLOCK_BYTES:
            self._take(BLOCK_BYTES)
            if self._settled is None and self._end >= self._due:
                self._due = self._end + max(self._every, int(GROWTH * (self._end - self._piece)))
                yield from self._news()

    def settle(self) -> Iterator[Hypothesis]:
        """What `finish` would say now: better here than at the end of the wait."""
        if self._settled is None:
            self._settled = self._whole()
            self._text = self._settled.text
            yield self._settled

    def resume(self) -> Iterator[Hypothesis]:
        """What came meanwhile is looked at with what comes next."""
        self._settled = None
        yield from ()

    def finish(self) -> Hypothesis:
        """What it all was; at once if it has settled."""
        self._take(len(self._rest) & ~1)
        told = self._settled or self._whole()
        self._settled = None
        return replace(told, end=self._end, final=True, settled=False)

    def again(self) -> Iterator[Hypothesis]:
        """It has looked at all of it at once already."""
        yield from ()

    def _take(self, size: int) -> None:
        self._sound += self._rest[:size]
        del self._rest[:size]
        self._end += size // 2
        if len(self._sound) >= 2 * PIECE:
            at = cut_at(bytes(self._sound))
            self._words += self._heard(bytes(self._sound[: 2 * at]))
            del self._sound[: 2 * at]
            self._piece += at

    def _heard(self, pcm: bytes) -> list[Spoken]:
        written = self._write(pcm)
        text = plain(written.text)
        known = written.sure > UNSURE and text != NOISE
        return spread(text, pcm, self._piece) if known else []

    def _whole(self) -> Hypothesis:
        words = (*self._words, *self._heard(bytes(self._sound)))
        text = " ".join(word.text for word in words)
        return Hypothesis(self._utterance, text, self._first, self._end, False, words, settled=True)

    def _news(self) -> Iterator[Hypothesis]:
        if (text := self._whole().text) != self._text:
            self._text = text
            yield Hypothesis(self._utterance, text, self._first, self._end, final=False)


if __name__ == "__main__":
    run(lambda partial_samples: Listener(Moonshine(), partial_samples))
