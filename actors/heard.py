"""Word positions and samples really played go in, the words the caller heard come out. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas import SpokenWords


@dataclass
class Voice:
    """The sound of one turn: what was to be said where, and how far the line has played."""

    sentences: list[SpokenWords] = field(default_factory=list)
    planned: list[str] = field(default_factory=list)
    played_s: float = 0.0

    def played(self, samples: int, rate: int) -> None:
        """The line has played `samples` at `rate` Hz since the turn's first."""
        self.played_s = max(self.played_s, samples / rate)

    @property
    def answer(self) -> str:
        """All that was to be said."""
        return " ".join(self.planned)

    def heard(self) -> str:
        """What was said until now: a word counts once half of it was played."""
        words = []
        for sentence in sorted(self.sentences, key=lambda said: said.sentence):
            for word in sentence.words:
                if (word.start + word.end) / 2 / sentence.rate <= self.played_s:
                    words.append(word.text)
        return " ".join(words)
