"""A pause and the words before it go in; how long it must last to end the turn comes out. Pure.

All waits are counted from the last voiced sample. The words alone decide which wait it is: a table
of endings, first match wins. The lexicon is English; another language is another `Lexicon`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

Endpointing = Literal["words", "fixed", "smart-turn"]
Ending = Literal["unfinished", "dictation", "complete", "open"]


@dataclass(frozen=True)
class Pause:
    """The caller is quiet: his words so far, for how long, and how long he was voiced before (ms).

    `done`: natural log-odds by the sound that his turn is over; 0.0: no engine has listened.
    """

    words: str
    silent_ms: float = 0.0
    voiced_ms: float = 0.0
    done: float = 0.0


class EndOfTurn(Protocol):
    """Tells how long a pause must last until the turn is over."""

    def wait_ms(self, pause: Pause) -> float:
        """Milliseconds since the last voiced sample; asked anew whenever the words change."""
        ...


@dataclass(frozen=True)
class Waits:
    """ms since the last voiced sample, by how the words end; config/fleet.toml, [turns] endpoint_*."""

    open: float = 600
    complete: float = 320
    unfinished: float = 1200
    dictation: float = 1000


@dataclass(frozen=True)
class Lexicon:
    """Words that tell how a stretch of speech ends, lower case.

    `leads_on`: nobody's last word; `after_be`: not after "is" or "are" either. `opens`: begins a question
    or an order, which wants an object. `asks_time`: asks for time, and goes on.
    `answers`: complete by themselves. `spelt`: one item of a number or a spelling. `asks_item`:
    somebody is about to give one.
    """

    leads_on: frozenset[str]
    after_be: frozenset[str]
    opens: frozenset[str]
    short_opens: frozenset[tuple[str, ...]]
    asks_time: frozenset[tuple[str, ...]]
    answers: frozenset[str]
    spelt: frozenset[str]
    asks_item: frozenset[str]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(phrase.split()) for phrase in text.split("|"))


ENGLISH = Lexicon(
    leads_on=_words(
        "um uh erm er hmm hm and or but because so if when while although unless until whether than "
        "that's the a an my your his her its our their this these those some any every "
        "of to at for from with without about into by between through during against as "
        "is are were am be been has had does would could should may might "
        "i'm i'd i'll i've you're we're they're it's he's she's there's what's who's where's let's "
        "i we they he she who which whose how what why where very just also actually basically "
        "another each every very plus minus times divided multiplied"
    ),
    after_be=_words("in on up over not going about still"),
    opens=_words(
        "what who whose which when where why how is are was were do does did can could will would "
        "should may tell give show read spell say count sing call send find set play turn open "
        "explain describe repeat translate book order cancel stop wait help let i i'd i'm please"
    ),
    short_opens=_phrases(
        "tell me|can you|could you|would you|can you tell me|could you tell me|please tell me|"
        "i would like to know|i want to know|do you know|do you|did you|let me|give me|show me|"
        "i think|you know|i mean|i need|i want|i would like|so tell me"
    ),
    asks_time=_phrases(
        "wait|wait a moment|wait a minute|wait a second|hold on|hold on a moment|hold on a minute|"
        "hold on a second|hang on|hang on a moment|hang on a minute|hang on a second|one moment|"
        "one minute|one second|just a moment|just a minute|just a second|a moment please|let me see|"
        "let me think|let me check|give me a moment|give me a minute|give me a second"
    ),
    answers=_words(
        "yes no yeah yep nope okay ok sure hello hi goodbye bye thanks exactly right correct "
        "never nothing everything nobody today tomorrow yesterday enough continue"
    ),
    spelt=_words(
        "zero oh one two three four five six seven eight nine ten eleven twelve double triple "
        "a b c d e f g h i j k l m n o p q r s t u v w x y z dot dash slash hyphen underscore"
    ),
    asks_item=_words("number code pin zip postcode spelled spelt digits extension"),
)
# Left out of `leads_on` because they also end sentences: "carry on", "come in", "what can you do",
# "what is it like", "who told you that", "yes I have". Such an ending is `open` or `complete`,
# never `unfinished`.

_WORD = re.compile(r"[\w']+")
_TRAILS_OFF = re.compile(r"(,|-|–|\.\.\.|…)\s*$")  # noqa: RUF001 - the dash recognisers write
_SENTENCE_END = re.compile(r"[.!?]\s*$")
BE = (["is"], ["are"], ["was"], ["were"], ["am"])
LONG_ENOUGH = 3
"""Words of a question or an order that is no fragment any more: "what time is" leads on anyway."""
BEFORE_PHRASE = 1
"""Words before "wait a moment" that leave it what it is; "i can't wait" does not ask for time."""
SPELT_RUN = 2
"""Digits or letters in a row that make a dictation: "seven plus five" has runs of one."""


def ending(words: str, lexicon: Lexicon = ENGLISH) -> Ending:
    """How a stretch of words ends. Nothing understood is `open`."""
    spoken = _WORD.findall(words.lower())
    if not spoken:
        return "open"
    return next((kind for kind, holds in _TABLE if holds(words, spoken, lexicon)), "open")


def _dictates(text: str, spoken: list[str], lexicon: Lexicon) -> bool:
    run = 0
    for word in reversed(spoken):
        if word not in lexicon.spelt and not word.isdigit():
            break
        run += 1
    asked = any(word in lexicon.asks_item for word in spoken)
    return run >= SPELT_RUN or (run > 0 and asked)


def _leads_on(text: str, spoken: list[str], lexicon: Lexicon) -> bool:
    after_be = spoken[-1] in lexicon.after_be and spoken[-2:-1] in BE
    return spoken[-1] in lexicon.leads_on or after_be or bool(_TRAILS_OFF.search(text))


def _is_opening(text: str, spoken: list[str], lexicon: Lexicon) -> bool:
    """ "Can you tell me", after whatever filled the time: an order without its object."""
    return any(tuple(spoken[-len(opening) :]) == opening for opening in lexicon.short_opens)


def _asks_for_time(text: str, spoken: list[str], lexicon: Lexicon) -> bool:
    """ "Okay, wait a moment": whoever says so, or "no, wait", and no more, goes on."""
    return any(
        tuple(spoken[-len(phrase) :]) == phrase and len(spoken) <= len(phrase) + BEFORE_PHRASE
        for phrase in lexicon.asks_time
    )


def _is_sentence(text: str, spoken: list[str], lexicon: Lexicon) -> bool:
    return bool(_SENTENCE_END.search(text))


def _is_whole(text: str, spoken: list[str], lexicon: Lexicon) -> bool:
    """A question or an order with enough behind its opening; or a word that answers by itself."""
    if len(spoken) < LONG_ENOUGH:
        return all(word in lexicon.answers or word == "please" for word in spoken)
    return any(word in lexicon.opens for word in spoken[: -LONG_ENOUGH + 1])


_TABLE: tuple[tuple[Ending, Callable[[str, list[str], Lexicon], bool]], ...] = (
    ("dictation", _dictates),
    ("unfinished", _leads_on),
    ("unfinished", _is_opening),
    ("unfinished", _asks_for_time),
    ("complete", _is_sentence),
    ("complete", _is_whole),
)


class ByWords:
    """The wait of the words' ending."""

    def __init__(self, waits: Waits, lexicon: Lexicon = ENGLISH) -> None:
        self._waits, self._lexicon = waits, lexicon

    def wait_ms(self, pause: Pause) -> float:
        """The setting that belongs to how `pause.words` end."""
        found = ending(pause.words, self._lexicon)
        return float(getattr(self._waits, found))


class BySound:
    """The sound decides where an engine has listened; the words where none has, and in a dictation."""

    def __init__(self, waits: Waits, words: EndOfTurn, lexicon: Lexicon = ENGLISH) -> None:
        self._waits, self._words, self._lexicon = waits, words, lexicon

    def wait_ms(self, pause: Pause) -> float:
        """That of complete words where it sounds like the end, else that of unfinished ones."""
        if not pause.done or ending(pause.words, self._lexicon) == "dictation":
            return self._words.wait_ms(pause)
        return self._waits.complete if pause.done > 0 else self._waits.unfinished


class Fixed:
    """The same wait whatever was said."""

    def __init__(self, wait_ms: float) -> None:
        self._wait_ms = wait_ms

    def wait_ms(self, pause: Pause) -> float:
        """Always the same."""
        return self._wait_ms
