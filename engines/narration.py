"""A synthesiser's sound and word events come in, Chunks with whole words go out."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right

from engines.protocols import Chunk, Spoken


class Narration:
    """PCM and WORD events in, Chunks out whose words tile the text: joined they give it back.

    A word is a stretch between blanks: espeak reports several events for "3.14" and none for
    some short words, which go with the word before. A word ends where its sound ends: the silence
    of a comma is not part of it. A chunk is kept until the words that begin in it have ended.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = _token_starts(text)
        self._token = -1
        self._begun = 0  # sample of the open word
        self._kept: list[tuple[bytes, list[Spoken]]] = []
        self._first = 0  # sample where the kept chunks begin
        self._end = 0

    def push(self, pcm: bytes, events: list[tuple[int, int]]) -> list[Chunk]:
        """Take one stretch of sound and what begins in it; the chunks that are now complete."""
        self._kept.append((pcm, []))
        self._end += len(pcm) // 2
        opened = [sample for place, sample in events if self._enter(place, sample)]
        if opened:
            return self._release(len(self._kept) - 1)
        return [] if self._token >= 0 else self._release(len(self._kept))

    def finish(self) -> list[Chunk]:
        """The sound has ended; the chunks still kept."""
        if self._token >= 0:
            self._leave(self._end, len(self._text))
        return self._release(len(self._kept))

    def _enter(self, place: int, sample: int) -> bool:
        token = bisect_right(self._starts, place) - 1
        if token <= self._token:
            return False
        if self._token >= 0:
            self._leave(sample, self._starts[token])
        else:
            self._starts[: token + 1] = [0] * (token + 1)  # what was skipped goes with the first
        self._token = token
        self._begun = sample
        return True

    def _leave(self, sample: int, to: int) -> None:
        sound = b"".join(pcm for pcm, _ in self._kept)
        within = slice(2 * (self._begun - self._first), 2 * (sample - self._first))
        length = (len(sound[within].rstrip(b"\0")) + 1) // 2
        text = self._text[self._starts[self._token] : to].strip()
        word = Spoken(text, self._begun, self._begun + length)
        at = self._first
        for pcm, words in self._kept:
            at += len(pcm) // 2
            if self._begun < at or words is self._kept[-1][1]:
                words.append(word)
                break

    def _release(self, count: int) -> list[Chunk]:
        done, self._kept = self._kept[:count], self._kept[count:]
        self._first += sum(len(pcm) for pcm, _ in done) // 2
        return [Chunk(pcm, tuple(words)) for pcm, words in done if pcm or words]


def _token_starts(text: str) -> list[int]:
    blank = [True, *(each.isspace() for each in text)]
    return [i for i in range(len(text)) if blank[i] and not blank[i + 1]]


def speakable(text: str) -> str:
    """The text without control characters; empty when nothing in it can be said."""
    silent = ("Cc", "Cs", "Co", "Cn")
    kept = (" " if unicodedata.category(each) in silent else each for each in text)
    clean = " ".join("".join(kept).split())
    return clean if any(each.isalnum() for each in clean) else ""
