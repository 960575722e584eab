"""Numbers and moments come in, words a voice reads well go out, and the other way round."""

from __future__ import annotations

import re
from datetime import datetime
from fractions import Fraction

_UP_TO_TWELVE = "zero one two three four five six seven eight nine ten eleven twelve"
_TEENS = "thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_SMALL = [*_UP_TO_TWELVE.split(), *_TEENS.split()]
_TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))
_IRREGULAR = {"one": "first", "two": "second", "three": "third", "five": "fifth"}
_IRREGULAR |= {"eight": "eighth", "nine": "ninth", "twelve": "twelfth"}
_LIMIT = 10**15
_VALUES = {word: n for n, word in enumerate(_SMALL)} | {
    word: 10 * n for n, word in enumerate(_TENS) if word
}
HOMOPHONES = {"to": "two", "too": "two", "for": "four", "fore": "four", "ate": "eight"}
HOMOPHONES |= {"won": "one", "tree": "three", "sex": "six", "tin": "ten", "nein": "nine"}
_MINUTES = {0: "", 15: "quarter past ", 30: "half past ", 45: "quarter to "}


def cardinal(n: int) -> str:
    """42 -> "forty two". Beyond 10^15 the digits, one by one."""
    if n < 0:
        return f"minus {cardinal(-n)}"
    if n >= _LIMIT:
        return " ".join(_SMALL[int(digit)] for digit in str(n))
    for scale, name in _SCALES:
        if n >= scale:
            return _joined(f"{cardinal(n // scale)} {name}", n % scale)
    if n >= 100:
        return _joined(f"{_SMALL[n // 100]} hundred", n % 100)
    if n >= 20:
        return f"{_TENS[n // 10]} {_SMALL[n % 10]}" if n % 10 else _TENS[n // 10]
    return _SMALL[n]


def _joined(head: str, rest: int) -> str:
    if not rest:
        return head
    return f"{head}{' and' if rest < 100 else ''} {cardinal(rest)}"


def ordinal(n: int) -> str:
    """21 -> "twenty first"."""
    *head, last = cardinal(n).split()
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    else:
        last = last[:-1] + "ieth" if last.endswith("y") else f"{last}th"
    return " ".join([*head, last])


def quantity(value: Fraction) -> str:
    """A result as one says it: whole, or "about" with at most two decimals."""
    if value.denominator == 1:
        return cardinal(value.numerator)
    hundredths = round(abs(value) * 100)
    whole, decimals = divmod(hundredths, 100)
    exact = Fraction(hundredths, 100) == abs(value)
    digits = " ".join(_SMALL[int(digit)] for digit in f"{decimals:02d}".rstrip("0"))
    spoken = (
        f"{'minus ' if value < 0 else ''}{cardinal(whole)}{' point ' if digits else ''}{digits}"
    )
    return spoken if exact else f"about {spoken}"


def year(n: int) -> str:
    """2025 -> "twenty twenty five"."""
    if 2000 <= n < 2010 or n % 1000 == 0:
        return cardinal(n)
    if n % 100 == 0:
        return f"{cardinal(n // 100)} hundred"
    return f"{cardinal(n // 100)} {'oh ' if n % 100 < 10 else ''}{cardinal(n % 100)}"


def clock(now: datetime) -> str:
    """20:20 -> "twenty past eight in the evening"."""
    minute, to = now.minute, now.minute > 30
    hour = (now.hour + to) % 24
    if minute in _MINUTES:
        lead = _MINUTES[minute]
    else:
        away = 60 - minute if to else minute
        unit = "" if away % 5 == 0 else " minute" if away == 1 else " minutes"
        lead = f"{cardinal(away)}{unit} {'to' if to else 'past'} "
    spoken_hour = cardinal((hour - 1) % 12 + 1)
    return f"{lead}{spoken_hour}{'' if lead else ' o clock'} {_part_of_day(now.hour)}"


def _part_of_day(hour: int) -> str:
    if hour < 5 or hour >= 22:
        return "at night"
    if hour < 12:
        return "in the morning"
    return "in the afternoon" if hour < 18 else "in the evening"


def read(words: list[str]) -> Fraction | None:
    """["twenty", "five"] or ["25"] -> 25; None when the words are not one number."""
    if len(words) == 1 and re.fullmatch(r"\d+(\.\d+)?", words[0]):
        return Fraction(words[0])
    if "point" in words and words[-1] != "point":
        at = words.index("point")
        whole, digits = read(words[:at]), [_VALUES.get(word, 10) for word in words[at + 1 :]]
        if whole is None or max(digits) > 9:
            return None
        return whole + Fraction(int("".join(map(str, digits))), 10 ** len(digits))
    return _read_whole(words)


def _read_whole(words: list[str]) -> Fraction | None:
    scales = {name: scale for scale, name in _SCALES}
    total, part, seen = 0, 0, False
    for word in words:
        if word in _VALUES:
            part, seen = part + _VALUES[word], True
        elif word.isdigit():
            part, seen = part + int(word), True
        elif word == "hundred":
            part, seen = (part or 1) * 100, True
        elif word in scales:
            total, part, seen = total + (part or 1) * scales[word], 0, True
        elif word not in ("and", "a"):
            return None
    return Fraction(total + part) if seen else None


def is_number_word(word: str) -> bool:
    """May this word be part of a number?"""
    scales = ("hundred", "point", *(name for _, name in _SCALES))
    return word in _VALUES or word in scales or bool(re.fullmatch(r"\d+(\.\d+)?", word))
