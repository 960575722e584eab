"""A text and what was said of it already go in, what is left to say comes out. Pure.

Texts are compared by their letters and digits alone: engines write blanks and stops in their own way.
"""

from __future__ import annotations

from collections.abc import Iterable


def letters(text: str) -> str:
    """What of a text is compared."""
    return "".join(each for each in text.lower() if each.isalnum())


def after(text: str, said: str) -> str | None:
    """The rest of `text` behind `said` (letters); None unless it begins so, and a word ends there."""
    left, word = said, 0
    for at, each in enumerate(text):
        if each.isspace():
            word = at + 1
        for letter in letters(each):
            if not left:
                inside = bool(said) and bool(letters(text[word:at]))
                return None if inside else text[word:].strip()
            if letter != left[0]:
                return None
            left = left[1:]
    return None if left else ""


def rest(text: str, words: Iterable[str]) -> str:
    """What is left of a sentence whose first `words` were spoken; "" if others were in its place."""
    said = letters("".join(words))
    return (after(text, said) or "") if said else text.strip()


class Unsaid:
    """An answer begun anew: stretches that were said already are left out, up to the first other one.

    An answer that goes on where the first one broke off passes as it is.
    """

    def __init__(self, said: Iterable[str] = ()) -> None:
        self._left = letters("".join(said))

    def of(self, stretch: str) -> str:
        """What of the next stretch was not said yet."""
        if not self._left:
            return stretch
        if self._left.startswith(letters(stretch)):
            self._left = self._left[len(letters(stretch)) :]
            return ""
        fresh, self._left = after(stretch, self._left), ""
        return stretch if fresh is None else fresh
