"""What a recogniser made of the caller's words comes in; tests that forgive its errors go out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from engines.responder.numbers import HOMOPHONES, is_number_word

NEAR = 0.78
"""Similarity from which a word may stand for another; "storey, story" 0.91, "hello, help" 0.75."""


def words_of(text: str) -> list[str]:
    """Lower-case words and numbers, without punctuation."""
    plain = text.lower().replace("\u2019", "'")
    return re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+(?:'[^\W\d_]+)*|[+*/\u00d7\u00f7-]", plain)


@lru_cache(maxsize=4096)
def near(heard: str, meant: str) -> bool:
    """Could `heard` be `meant`, misheard? Words under four letters must be equal."""
    if heard == meant:
        return True
    if min(len(heard), len(meant)) < 4 or is_number_word(heard):
        return False
    return SequenceMatcher(None, _sound(heard), _sound(meant)).ratio() >= NEAR


def _sound(word: str) -> str:
    """A rough spelling by ear: what English writes in several ways, in one."""
    for written, spoken in (("ph", "f"), ("ck", "k"), ("kn", "n"), ("wh", "w"), ("ea", "e")):
        word = word.replace(written, spoken)
    word = word.replace("c", "k").replace("z", "s").replace("y", "i")
    return re.sub(r"(.)\1", r"\1", word)


def find(heard: Sequence[str], phrase: str) -> int | None:
    """Index behind the first place where the words of `phrase` follow one another, or None."""
    meant = phrase.split()
    for start in range(len(heard) - len(meant) + 1):
        if all(near(heard[start + i], word) for i, word in enumerate(meant)):
            return start + len(meant)
    return None


def any_of(heard: Sequence[str], phrases: Sequence[str]) -> bool:
    """Is one of the phrases in it?"""
    return any(find(heard, phrase) is not None for phrase in phrases)


def all_of(heard: Sequence[str], phrases: Sequence[str]) -> bool:
    """Are all of them in it, in any order?"""
    return all(find(heard, phrase) is not None for phrase in phrases)


def as_number_word(word: str) -> str:
    """ "to" -> "two": in the place of a number a word that sounds like one is one."""
    if is_number_word(word) or word in ("and", "a"):
        return word
    return HOMOPHONES.get(word, word)
