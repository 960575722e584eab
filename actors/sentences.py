"""Pieces of a text come in as a model writes them; stretches that can be spoken go out early."""

from __future__ import annotations

import re

FIRST_CLAUSE = 25
"""Characters after which the first stretch may end at a comma: the caller is waiting."""
LATER_CLAUSE = 160
"""Characters after which any stretch may end at a comma."""
LONGEST = 400
"""Characters after which a stretch ends at a blank: somebody forgot all punctuation."""

_CLOSERS = "\"'\u201d\u2019»)\\]*"
_BOUNDARY = re.compile(
    rf"(?P<end>[.!?…]+[{_CLOSERS}]*(?=\s)|[。！？]+)"  # noqa: RUF001 - Chinese stops
    rf"|(?P<clause>[,;:][{_CLOSERS}]*(?=\s))"
    r"|(?P<line>\n)"
    r"|(?P<blank>\s)"
)
_TITLES = "dr mr mrs ms prof st mt sr jr gen col lt sgt capt rev hon"
_OTHERS = "vs approx dept fig cf ca e.g i.e a.k.a u.s u.k jan feb aug sept oct nov dec"
_ABBREVIATIONS = frozenset((*_TITLES.split(), *_OTHERS.split()))
_LAST_WORD = re.compile(r"([^\s\"'\u201c\u2018«(\[]+)\.$")


class Splitter:
    """Cuts a growing text at sentence ends. What it emits, joined, is the text apart from blanks.

    The cuts depend on the text alone, not on how it was cut into deltas.
    """

    def __init__(self) -> None:
        self._text = ""
        self._scanned = 0
        self._first = True

    def push(self, delta: str) -> list[str]:
        """Take the next piece of text; the stretches it completes, in order, often none."""
        self._text += delta
        stretches = []
        while (cut := self._cut()) is not None:
            stretches += self._take(cut)
        return stretches

    def flush(self) -> list[str]:
        """The text has ended: what is left, none or one stretch. The next text starts afresh."""
        rest = self._take(len(self._text))
        self._first = True
        return rest

    def _cut(self) -> int | None:
        for found in _BOUNDARY.finditer(self._text, self._scanned):
            if self._ends_here(found):
                return found.end()
            if found.lastgroup != "end":  # a full stop may still grow: "3." "14"
                self._scanned = found.end()
        return None

    def _ends_here(self, found: re.Match[str]) -> bool:
        stretch = self._text[: found.end()].strip()
        if not stretch:
            return False
        match found.lastgroup:
            case "end":
                return not _abbreviated(stretch)
            case "clause":
                return len(stretch) >= (FIRST_CLAUSE if self._first else LATER_CLAUSE)
            case "line":
                return True
            case _:
                return len(stretch) >= LONGEST

    def _take(self, cut: int) -> list[str]:
        stretch, self._text = self._text[:cut].strip(), self._text[cut:]
        self._scanned = 0
        if not stretch:
            return []
        self._first = False
        return [stretch]


def _abbreviated(stretch: str) -> bool:
    """Does the full stop at the end belong to "Dr.", "J." or a list's "2."?"""
    found = _LAST_WORD.search(stretch)
    if found is None:
        return False
    word = found[1]
    initial = len(word) == 1 and word.isalpha() and word.isupper() and word != "I"
    item = word.isdigit() and stretch == f"{word}."
    return initial or item or word.lower() in _ABBREVIATIONS
