"""Word positions and samples really played go in, the words the caller heard come out. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.unsaid import rest
from schemas import Part, SpokenWords

REPORT_S = 0.15
"""What the line has played may be told that much late: it reports every 100 ms."""


@dataclass
class Voice:
    """The sound of one turn: what was to be said where, and how far the line has played."""

    sentences: list[SpokenWords] = field(default_factory=list)
    planned: list[Part] = field(default_factory=list)
    played_s: float = 0.0

    def plan(self, text: str, index: int = -1, notice: bool = False) -> None:
        """It is to be said next; `index` -1 for words that are not the model's."""
        self.planned.append(Part(index, text, notice))

    def played(self, samples: int, rate: int) -> None:
        """The line has played `samples` at `rate` Hz since the turn's first."""
        self.played_s = max(self.played_s, samples / rate)

    @property
    def answer(self) -> str:
        """All that was to be said."""
        return " ".join(part.text for part in self.planned)

    @property
    def said(self) -> tuple[str, ...]:
        """The sentences llm has given, in order."""
        return tuple(part.text for part in self.planned if part.index >= 0)

    @property
    def left(self) -> tuple[Part, ...]:
        """The sentences, or rests of them, of which tts has told no word yet."""
        told: dict[int, list[str]] = {}
        for said in self.sentences:
            told.setdefault(said.sentence, []).extend(word.text for word in said.words)
        parts = (
            Part(part.index, rest(part.text, told.get(part.index, ())), part.notice)
            for part in self.planned
            if part.index >= 0
        )
        return tuple(part for part in parts if part.text)

    @property
    def told_to(self) -> tuple[int, int]:
        """Up to which sample words were told, and the rate they count at; 0 at 16 kHz for none."""
        ends = [(word.end, said.rate) for said in self.sentences for word in said.words]
        return max(ends, key=lambda end: end[0] / end[1], default=(0, 16_000))

    @property
    def in_notice(self) -> bool:
        """Whether a sentence sounds, or is about to, that must be heard whole."""
        return any(self._sounds(part.index) for part in self.planned if part.notice)

    def _sounds(self, index: int) -> bool:
        words = [
            (word, said.rate)
            for said in self.sentences
            for word in said.words
            if said.sentence == index
        ]
        if not words:
            return index == 0
        start_s = min(word.start / rate for word, rate in words)
        end_s = max(word.end / rate for word, rate in words)
        return start_s - REPORT_S <= self.played_s < end_s

    def heard(self) -> str:
        """What was said until now: a word counts once half of it was played."""
        timed = [
            ((word.start + word.end) / 2 / said.rate, word.text)
            for said in self.sentences
            for word in said.words
        ]
        in_order = sorted(timed, key=lambda word: word[0])
        return " ".join(text for middle_s, text in in_order if middle_s <= self.played_s)
