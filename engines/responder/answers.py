"""A conversation and the time come in, a short answer in words that a voice reads well goes out.

No model: a table of rules over what the caller said last, tried from the top. Everything is a
function of its arguments, so the answer to a question can be worked out again: this is how an
interrupted answer is continued.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from engines.responder import numbers
from engines.responder.hearing import all_of, any_of, as_number_word, find, near, words_of
from engines.responder.stories import JOKES, STORIES

History = Sequence[tuple[str, str]]
"""(role, content) as in /v1/chat/completions, the caller's last words at the end."""
INTERRUPTED = "[interrupted by the caller]"
_MARK = re.compile(r"\s*\[interrupted[^\]]*\]\s*$")
ABILITIES = (
    "I can tell you the time and the date, do sums, count, spell words, repeat after you, flip a "
    "coin, and tell jokes and long stories. You can talk over me at any time. After that, say go "
    "on, and I continue where you stopped me."
)
ABOUT = "I am a small built-in responder, not a language model. "
_LETTERS = {"w": "double you"}
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_FIXED = {
    ("month", "year"): "There are twelve months in a year.",
    (
        "week",
        "year",
    ): "There are fifty two weeks in a year, and one day more, or two in a leap year.",
    ("day", "year"): "There are three hundred and sixty five days in a year, and one more in a leap"
    " year.",
    ("day", "month"): "A month has thirty or thirty one days, and February twenty eight or twenty"
    " nine.",
    ("year", "century"): "There are one hundred years in a century.",
    ("year", "decade"): "There are ten years in a decade.",
    ("metre", "kilometre"): "There are one thousand metres in a kilometre.",
    ("meter", "kilometer"): "There are one thousand meters in a kilometer.",
    ("inch", "foot"): "There are twelve inches in a foot.",
    ("gram", "kilogram"): "There are one thousand grams in a kilogram.",
}
_PLURALS = {"inches": "inch", "feet": "foot", "centuries": "century"}
_OPERATORS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "plus": lambda a, b: a + b,
    "minus": lambda a, b: a - b,
    "times": lambda a, b: a * b,
    "divided": lambda a, b: a / b,
}
_SAID_AS = {"plus": "plus", "minus": "minus", "times": "times", "divided": "divided by"}
_OPERATOR_WORDS = {"+": "plus", "-": "minus", "*": "times", "x": "times", "\u00d7": "times"}
_OPERATOR_WORDS |= {"/": "divided", "\u00f7": "divided", "over": "divided", "add": "plus"}
_OPERATOR_WORDS |= {"multiplied": "times", "time": "times", "divide": "divided", "less": "minus"}


@dataclass(frozen=True)
class Asked:
    """What the rules look at: the last words, what went before, and the clock."""

    text: str
    words: list[str]
    before: History
    now: datetime


def answer(history: History, now: datetime) -> str:
    """The answer to the last thing the caller said. Never empty, never raises."""
    last = max((i for i, (role, _) in enumerate(history) if role == "user"), default=-1)
    if last < 0:
        return "Hello. " + ABILITIES
    text = " ".join(history[last][1].split())
    asked = Asked(text, words_of(text), history[:last], now)
    return next(said for rule in _RULES if (said := rule(asked)) is not None)


def _nothing(asked: Asked) -> str | None:
    return None if asked.words else "I did not hear any words. Please say that again."


def _repeat_after(asked: Asked) -> str | None:
    at = find(asked.words, "repeat after me") or find(asked.words, "say after me")
    if at is None:
        return None
    return " ".join(asked.words[at:]).capitalize() + "." if asked.words[at:] else "I am listening."


def _go_on(asked: Asked) -> str | None:
    said = ("go on", "carry on", "keep going", "continue", "go ahead", "tell me more")
    if not any_of(asked.words, (*said, "where were you")) or len(asked.words) > 6:
        return None
    cut = [i for i, (role, text) in enumerate(asked.before) if role == "assistant" and _cut(text)]
    if not cut:
        return "Nobody has interrupted me, so I have nothing to go on with. Ask for a story."
    heard = _MARK.sub("", asked.before[cut[-1]][1])
    whole = answer(asked.before[: cut[-1]], asked.now)
    rest = _after(heard, (whole, *STORIES.values()))
    return f"Where was I? {rest}" if rest else "I had just finished what I was saying."


def _cut(text: str) -> bool:
    return _MARK.search(text) is not None


def _after(heard: str, wholes: Sequence[str]) -> str:
    """What follows the heard words in the first text that contains their last ones."""
    tail = words_of(heard)[-8:]
    for whole in wholes:
        tokens = [(token, words_of(token)) for token in whole.split()]
        flat = [(word, i) for i, (_, words) in enumerate(tokens) for word in words]
        for end in range(len(flat), len(tail) - 1, -1):
            if [word for word, _ in flat[end - len(tail) : end]] == tail:
                first = flat[end - 1][1] + 1 if tail else 0
                return " ".join(token for token, _ in tokens[first:])
    return wholes[0]


def _again(asked: Asked) -> str | None:
    said = ("say that again", "say it again", "repeat that", "repeat it", "pardon", "repeat please")
    if not any_of(asked.words, (*said, "what did you say")) and asked.words != ["repeat"]:
        return None
    for role, text in reversed(asked.before):
        if role == "assistant" and _MARK.sub("", text).strip():
            return _MARK.sub("", text)
    return "I have not said anything yet."


def _quiet(asked: Asked) -> str | None:
    said = ("stop", "be quiet", "shut up", "wait", "hold on", "enough", "never mind")
    if len(asked.words) > 4 or not any_of(asked.words, said):
        return None
    return "All right, I stop. Say go on when you want the rest."


def _spell(asked: Asked) -> str | None:
    at = find(asked.words, "spell")
    words = [word for word in asked.words[at:] if word not in ("the", "word")] if at else []
    if not words:
        return None if at is None else "Which word shall I spell?"
    letters = ", ".join(_LETTERS.get(each, each) for each in words[0] if each.isalnum())
    return f"{words[0].capitalize()} is spelled {letters}."


def _count(asked: Asked) -> str | None:
    at = find(asked.words, "count")
    if at is None:
        return None
    words = asked.words[at:]
    found = _numbers_in(words[1:] if words[:1] == ["two"] and words[1:] else words)
    start, end = (found[0], found[1]) if len(found) > 1 else (1, found[0] if found else 10)
    if abs(end - start) > 100:
        return "That is too far for one call. I count a hundred numbers at most."
    steps = range(start, end + 1) if end >= start else range(start, end - 1, -1)
    return ", ".join(numbers.cardinal(n) for n in steps).capitalize() + "."


def _numbers_in(words: Sequence[str]) -> list[int]:
    """The whole numbers in it; "to" is a preposition unless it ends the words."""
    runs: list[list[str]] = [[]]
    for i, word in enumerate(words):
        meant = as_number_word(word) if i == len(words) - 1 else word
        if numbers.is_number_word(meant):
            runs[-1].append(meant)
        else:
            runs.append([])
    found = [numbers.read(run) for run in runs if run]
    return [int(value) for value in found if value is not None]


def _sum(asked: Asked) -> str | None:
    words = [_operator(word) for word in asked.words]
    for at, word in enumerate(words):
        if word not in _OPERATORS:
            continue
        left = _operand(words[:at][::-1], backwards=True)
        right = _operand(words[at + (2 if words[at + 1 : at + 2] == ["by"] else 1) :])
        if left is not None and right is not None:
            return _worked_out(left, word, right)
    return None


def _operator(word: str) -> str:
    if word in _OPERATOR_WORDS:
        return _OPERATOR_WORDS[word]
    return next((each for each in _OPERATORS if near(word, each)), word)


def _operand(words: Sequence[str], backwards: bool = False) -> Fraction | None:
    """The number that begins (or, backwards, ends) here."""
    run: list[str] = []
    for word in words:
        meant = as_number_word(word) if not run else word
        if not numbers.is_number_word(meant) and not (meant == "and" and run):
            break
        run.append(meant)
    return numbers.read(run[::-1] if backwards else run)


def _worked_out(left: Fraction, operator: str, right: Fraction) -> str:
    if operator == "divided" and not right:
        return "Nothing can be divided by zero."
    result = numbers.quantity(_OPERATORS[operator](left, right))
    terms = f"{numbers.quantity(left)} {_SAID_AS[operator]} {numbers.quantity(right)}"
    return f"{terms} is {result}.".capitalize()


def _units(asked: Asked) -> str | None:
    at = find(asked.words, "how many")
    if at is None:
        return None
    units = [unit for word in asked.words[at:] if (unit := _unit(word))]
    if len(units) < 2:
        return None
    small, large = units[0], units[1]
    if (small, large) in _FIXED:
        return _FIXED[small, large]
    if small in _UNITS and large in _UNITS and _UNITS[large] > _UNITS[small]:
        count = numbers.cardinal(_UNITS[large] // _UNITS[small])
        return f"There are {count} {small}s in {'an' if large == 'hour' else 'a'} {large}."
    return None


def _unit(word: str) -> str | None:
    known = {unit for pair in _FIXED for unit in pair} | set(_UNITS)
    word = _PLURALS.get(word, word)
    for candidate in (word, word.removesuffix("s")):
        if candidate in known:
            return candidate
    return next((unit for unit in sorted(known) if len(unit) > 4 and near(word, unit)), None)


def _story(asked: Asked) -> str | None:
    if not any_of(asked.words, ("story", "tale", "storey", "stories")):
        return None
    named = [name for name in STORIES if find(asked.words, name) is not None]
    told = sum(
        any_of(words_of(text), ("story", "tale")) for role, text in asked.before if role == "user"
    )
    name = named[0] if named else list(STORIES)[told % len(STORIES)]
    return f"Here is a story. {STORIES[name]}"


def _joke(asked: Asked) -> str | None:
    if not any_of(asked.words, ("joke", "something funny", "make me laugh")):
        return None
    told = sum(
        find(words_of(text), "joke") is not None for role, text in asked.before if role == "user"
    )
    return JOKES[told % len(JOKES)]


def _coin(asked: Asked) -> str | None:
    if not any_of(asked.words, ("coin", "heads or tails")):
        return None
    tails = zlib.crc32(f"{asked.text}|{asked.now.isoformat()}".encode()) & 1
    return f"The coin says {'tails' if tails else 'heads'}."


def _weather(asked: Asked) -> str | None:
    said = ("weather", "rain", "raining", "sunny", "temperature", "forecast")
    if not any_of(asked.words, said):
        return None
    return "I cannot know the weather. I have no window and no internet, only a clock."


def _time(asked: Asked) -> str | None:
    said = ("what time", "the time", "time is it", "what's the time", "o'clock", "clock")
    return f"It is {numbers.clock(asked.now)}." if any_of(asked.words, said) else None


def _date(asked: Asked) -> str | None:
    tomorrow, yesterday = (find(asked.words, day) for day in ("tomorrow", "yesterday"))
    asks = any_of(asked.words, ("what day", "which day", "date", "day is it", "today's"))
    if not asks and not any_of(asked.words, ("what is today", "day is today")):
        return None
    day = asked.now + timedelta(days=(tomorrow is not None) - (yesterday is not None))
    lead = "Tomorrow is" if tomorrow else "Yesterday was" if yesterday else "Today is"
    return f"{lead} {day:%A}, the {numbers.ordinal(day.day)} of {day:%B}, {numbers.year(day.year)}."


def _who(asked: Asked) -> str | None:
    said = ("who are you", "what are you", "your name", "are you real", "are you human")
    return ABOUT + ABILITIES if any_of(asked.words, (*said, "are you a robot")) else None


def _help(asked: Asked) -> str | None:
    said = ("help", "what can you do", "what can i say", "can you do", "options")
    return ABOUT + ABILITIES if any_of(asked.words, said) else None


def _thanks(asked: Asked) -> str | None:
    return "You are welcome." if any_of(asked.words, ("thank you", "thanks", "thank")) else None


def _goodbye(asked: Asked) -> str | None:
    said = ("goodbye", "good bye", "bye", "bye bye", "see you", "good night")
    return "Goodbye. It was nice to talk to you." if any_of(asked.words, said) else None


def _how_are_you(asked: Asked) -> str | None:
    return "All my parts are running, thank you." if all_of(asked.words, ("how are you",)) else None


def _hello(asked: Asked) -> str | None:
    said = ("hello", "hi", "hey", "good morning", "good afternoon", "good evening")
    return "Hello. What can I do for you?" if any_of(asked.words, said) else None


def _unknown(asked: Asked) -> str:
    heard = " ".join(asked.text.split()[:12]).rstrip(".?!, ")
    return f"I heard: {heard}. I do not know what to do with that. Say help to hear what I can do."


_RULES: tuple[Callable[[Asked], str | None], ...] = (
    *(_nothing, _repeat_after, _again, _go_on, _spell, _count, _sum, _units),
    *(_story, _joke, _coin, _weather, _who, _how_are_you, _time, _date, _help),
    *(_quiet, _thanks, _goodbye, _hello, _unknown),
)
