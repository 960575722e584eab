"""What speaks for and against an interruption goes in, a verdict comes out. Pure; docs/turn-taking.md.

The words decide, once there are any; how long the voice lasts decides what they may weigh. A verdict
for the caller is final, so it may take its time: the agent's voice is lowered from the first sound on
and held after `hold_ms`, and goes on at that very place if nothing was meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

TURNING, CONTENT, HOLLOW, NONE, HUM, BACKCHANNEL = 0.8, -0.3, -1.7, -1.2, -1.7, -1.8
"""Nats that the words of a look add: those of a logistic regression, rounded (decision 9)."""
AGREE, LISTS, LENGTH, LENGTH_MS = 0.4, 0.4, 1.0, 300
"""The same of a word that both looks found; of the difference of the lists, in units of `list_nats`; and of
the voice's length beyond `content_ms`, in units of `LENGTH_MS`. The latter two are bounded."""
QUIET = 0.4
"""Nats against the caller for each dB beyond `quiet_db` that it is softer than when he asks: so are
backchannels, and what others say behind him."""
SURE, LASTING = 2.0, 1.5
"""Times `floor_nats`: where the sound alone is sure; and what it takes while a voice lasts."""
SEVERAL = 3
"""Hollow words, one after another, that are no mere hum any more: "you are you" for "who are you"."""
LONGEST = 1.5
"""Times `voice_ms`: three backchannels, one after another, have less voice."""
Verdict = Literal["wait", "hold", "commit", "restore"]


@dataclass(frozen=True)
class Lexicon:
    """One language. Phrases in lower case, without punctuation.

    `stop` commits at once; `turning` are words that take the floor by themselves; `backchannels` never
    do; `hollow` are words without a weight of their own, which recognisers also write for "mm-hm".
    """

    stop: frozenset[str]
    turning: frozenset[str]
    backchannels: frozenset[str]
    hollow: frozenset[str]
    sounds: frozenset[str]
    """Backchannels that are no words; recognisers write them for what they did not understand, too."""


def _phrases(text: str) -> frozenset[str]:
    return frozenset(phrase.strip() for phrase in text.split(",") if phrase.strip())


ENGLISH = Lexicon(
    stop=_phrases("stop, wait, hold on, hang on, excuse me, no no, no wait, cancel, be quiet"),
    turning=_phrases(
        "no, what, who, why, where, when, how, whats, whos, wheres, hows, help, pardon, sorry, "
        "listen, next, again, enough, never mind, goodbye, good bye, bye, thank you, thanks, quiet, "
        "repeat, skip, louder, slower, can you, could you, would you, will you, do you, are you, can i, "
        "may i, let me, tell me, give me, show me"
    ),
    backchannels=_phrases(
        "mm, hm, mhm, mmhm, hmm, mm hm, uh, huh, uh huh, uhhuh, ah, oh, ooh, aha, um, hum, yeah, "
        "yes, yep, yup, okay, ok, right, all right, alright, sure, of course, i see, i know, got "
        "it, i get it, i understand, good, very good, great, fine, nice, cool, wow, really, true, "
        "thats true, that is true, thats right, that is right, exactly, indeed, absolutely, "
        "definitely, perfect, wonderful, interesting, fair enough, makes sense, go on, correct, "
        "amazing, lovely, whoa, totally, understood, i think so, me too, you bet, ha ha, hah, whew, "
        "phew, eh, er, erm, ya, yea, yah"
    ),
    hollow=_phrases(
        "a, an, the, of, to, in, on, at, and, or, but, so, then, it, is, are, was, be, i, you, "
        "he, she, we, they, me, my, his, her, had, has, have, do, for, that, this, mum, though, "
        "well, hello, ha, im, its, thats, ive, ill, hes, shes, theyre, youre, theres, with, as, "
        "by, from, if, them, him, us, there, been, our, your, their, am"
    ),
    sounds=_phrases(
        "mm, hm, mhm, mmhm, hmm, uh, huh, uhhuh, ah, oh, ooh, aha, um, hum, ha, hah, whew, phew, eh, "
        "er, erm"
    ),
)


@dataclass(frozen=True)
class Limits:
    """How much voice, in ms, it takes, and other limits; see config/fleet.toml, [turns]."""

    hold_ms: float = 200
    word_ms: float = 500
    content_ms: float = 600
    long_ms: float = 1050
    commit_ms: float = 1400
    voice_ms: float = 1500
    verdict_ms: float = 700
    quiet_db: float = 12
    soft_db: float = 22
    least_voiced: float = 0.4
    list_nats: float = 40
    floor_nats: float = 2.0
    lean_nats: float = 0.5


@dataclass(frozen=True)
class Second:
    """What a second look made of it: its words, and by how many nats it is nearer to a command."""

    words: str = ""
    command_nats: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """One onset while the agent has the floor: lengths in ms, words as recognised so far.

    `stable`: those told twice, or None: all. `final`: they change no more. `ended_ms`: since its end was
    told; None while it lasts. `agent`: what the agent is saying, which is no interruption when it
    comes back. `level_db`: against the caller's voice when he asks something. `second`: what a
    second look made of it; `awaited`: one is under way. `floor`: log-odds, by its sound, that it is meant.
    `lasting`: the same of what lasts and varies little in level, asked meanwhile; 0.0: not asked.
    `murmur`: it ended because by its level it seems to be many voices; `floor` is that of its last seconds.
    `masked`: it ended because a voice much louder began. `share`: of its length, how much was voice.
    """

    voiced_ms: float
    words: str = ""
    stable: str | None = None
    final: bool = False
    ended_ms: float | None = None
    agent: str = ""
    level_db: float = 0.0
    second: Second | None = None
    awaited: bool = False
    floor: float = 0.0
    lasting: float = 0.0
    murmur: bool = False
    masked: bool = False
    share: float = 1.0


@dataclass(frozen=True)
class Heard:
    """The words of an utterance, weighed; `rest` counts those that are no backchannels, `sounds` mere hums.

    `content` counts those of them that have a weight of their own; `weighty` are these words.
    """

    words: int = 0
    stop: bool = False
    turning: bool = False
    content: int = 0
    rest: int = 0
    sounds: int = 0
    echo: bool = False
    """They were the agent's own, and count for nothing."""
    weighty: frozenset[str] = frozenset()

    @property
    def mostly_backchannels(self) -> bool:
        """At least half of the words."""
        return 0 < self.words >= 2 * self.rest

    @property
    def meaning(self) -> bool:
        """A word with a weight of its own."""
        return self.turning or self.content > 0


@dataclass(frozen=True)
class Case:
    """What a rule looks at: the evidence, its words, those of the second look (None: none), the limits."""

    e: Evidence
    heard: Heard
    again: Heard | None
    limits: Limits

    @property
    def over(self) -> bool:
        return self.e.ended_ms is not None

    @property
    def late(self) -> bool:
        """Over, and waited for long enough."""
        return self.e.ended_ms is not None and self.e.ended_ms >= self.limits.verdict_ms

    @property
    def heard_enough(self) -> bool:
        """Over, or beyond its first windows, which are often 20 dB softer than what follows."""
        return self.over or self.e.voiced_ms >= self.limits.word_ms

    @property
    def lasts(self) -> bool:
        """So long that a murmur would have been known by now."""
        return self.e.voiced_ms >= self.limits.commit_ms

    @property
    def long(self) -> bool:
        """Over, and more voice than any backchannel takes."""
        return self.over and self.e.final and self.e.voiced_ms >= self.limits.long_ms

    @property
    def known(self) -> bool:
        """Its words are there, and no second look is waited for."""
        return self.over and self.e.final and (self.late or not self.e.awaited)

    @property
    def far(self) -> bool:
        """Far softer than his question; one whose sound wants the floor may be softer by half as much.

        So may a stop word that its sound does not speak against.
        """
        sure = max(self.e.floor, self.e.lasting / LASTING) >= self.limits.floor_nats
        sure = sure or (self.e.floor > 0 and any(heard.stop for heard in self.both))
        return self.e.level_db < -self.limits.soft_db * (1.5 if sure else 1)

    @property
    def echo(self) -> bool:
        """A look found the agent's own words: however much it sounds like speech, it is his."""
        return any(heard.echo for heard in self.both)

    @property
    def worded(self) -> bool:
        """Words, nothing but backchannels in every look, and not only hums."""
        return all(heard.words > 0 and not heard.rest for heard in self.both) and any(
            heard.words > heard.sounds for heard in self.both
        )

    @property
    def quiet(self) -> float:
        """What its level says against the caller, in nats."""
        return QUIET * max(0.0, -self.e.level_db - self.limits.quiet_db)

    @property
    def nats(self) -> float:
        """For the caller, all of it: the sound's odds, what each look's words weigh, the length, the level.

        Each look counts for as much as there are looks.
        """
        words = sum(map(_weight, self.both)) / len(self.both)
        agree = len(self.both) > 1 and bool(self.heard.weighty & self.both[1].weighty)
        lists = self.e.second.command_nats / self.limits.list_nats if self.e.second else 0.0
        length = (self.e.voiced_ms - self.limits.content_ms) / LENGTH_MS
        return (
            self.e.floor
            + words
            + AGREE * agree
            + LISTS * max(-2.0, min(2.0, lists))
            + LENGTH * max(-1.5, min(1.5, length))
            - self.quiet
        )

    @property
    def both(self) -> tuple[Heard, ...]:
        return (self.heard,) if self.again is None else (self.heard, self.again)


def _weight(heard: Heard) -> float:
    """What the words of one look say for the caller, in nats."""
    if heard.turning:
        return TURNING
    if heard.content:
        return CONTENT
    if not heard.words:
        return NONE
    if heard.rest:
        return CONTENT if heard.rest >= SEVERAL else HOLLOW
    return HUM if heard.words == heard.sounds else BACKCHANNEL


@dataclass(frozen=True)
class Rule:
    """The first that applies decides."""

    name: str
    applies: Callable[[Case], bool]
    verdict: Verdict


RULES: tuple[Rule, ...] = (
    Rule(
        "somebody far from the telephone, or another conversation",
        lambda c: c.far and c.heard_enough,
        "restore",
    ),
    Rule("an explicit stop word", lambda c: any(heard.stop for heard in c.both), "commit"),
    Rule("somebody speaks above it: it was behind the caller", lambda c: c.e.masked, "restore"),
    Rule(
        "over, and heard in scraps: it was at the edge of what can be heard",
        lambda c: c.over and c.e.share < c.limits.least_voiced,
        "restore",
    ),
    Rule(
        "by its level several voices far off, and by its sound it does not surely want the floor",
        lambda c: c.e.murmur and c.e.floor - c.quiet < SURE * c.limits.floor_nats,
        "restore",
    ),
    Rule(
        "it lasts, and by its sound it is no one voice but several, or none",
        lambda c: c.e.lasting != 0 and c.e.lasting < LASTING * c.limits.floor_nats,
        "restore",
    ),
    Rule(
        "a voice that lasts, with words that are more than backchannels",
        lambda c: (c.lasts or (c.long and c.e.floor > -c.limits.floor_nats)) and c.heard.rest > 0,
        "commit",
    ),
    Rule(
        "a very long voice of which nothing is understood",
        lambda c: c.heard.words == 0 and c.e.voiced_ms >= c.limits.voice_ms,
        "commit",
    ),
    Rule(
        "a voice that lasts longer than backchannels do, whatever is understood",
        lambda c: c.e.voiced_ms >= LONGEST * c.limits.voice_ms,
        "commit",
    ),
    Rule(
        "over: by its sound it surely wants the floor, and its words so far are not backchannels alone",
        lambda c: (
            c.over
            and c.e.floor - c.quiet >= SURE * c.limits.floor_nats
            and not (c.worded or c.echo)
        ),
        "commit",
    ),
    Rule(
        "over: too short for words, or by its sound surely a backchannel; its words may say otherwise",
        lambda c: (
            c.over
            and not c.known
            and (
                c.e.floor <= -SURE * c.limits.floor_nats
                or (c.e.voiced_ms < c.limits.hold_ms and c.e.floor < c.limits.floor_nats)
            )
        ),
        "restore",
    ),
    Rule(
        "over, and what was found are the agent's own words",
        lambda c: c.known and c.echo and not any(heard.turning for heard in c.both),
        "restore",
    ),
    Rule(
        "over: backchannels in every look, and by its sound it may be one",
        lambda c: c.known and c.worded and c.e.floor < c.limits.floor_nats,
        "restore",
    ),
    Rule(
        "over: sound, words and length together speak for it",
        lambda c: c.known and c.nats >= -c.limits.lean_nats,
        "commit",
    ),
    Rule("over, and its words are known", lambda c: c.known, "restore"),
    Rule(
        "over, its words do not come, and it was more than most backchannels",
        lambda c: (
            c.late
            and not c.e.final
            and c.e.voiced_ms >= c.limits.content_ms
            and c.e.floor > -c.limits.floor_nats / 2
        ),
        "commit",
    ),
    Rule("over, and its words do not come", lambda c: c.late, "restore"),
    Rule("more than a click", lambda c: c.e.voiced_ms >= c.limits.hold_ms, "hold"),
)


@dataclass(frozen=True)
class Judge:
    """The rules with one language and one set of limits."""

    limits: Limits = field(default_factory=Limits)
    lexicon: Lexicon = ENGLISH

    def __call__(self, evidence: Evidence) -> Verdict:
        """Commit, restore, hold, or wait for more."""
        rule = self.rule(evidence)
        return rule.verdict if rule else "wait"

    def rule(self, evidence: Evidence) -> Rule | None:
        """The one that decides; None: nothing does yet."""
        words = evidence.words if evidence.stable is None else evidence.stable
        heard = weigh(words, evidence.agent, self.lexicon)
        if weigh(evidence.words, evidence.agent, self.lexicon).stop:
            heard = replace(heard, stop=True)
        second = evidence.second
        again = None if second is None else weigh(second.words, evidence.agent, self.lexicon)
        case = Case(evidence, heard, again, self.limits)
        return next((rule for rule in RULES if rule.applies(case)), None)


def weigh(words: str, agent: str = "", lexicon: Lexicon = ENGLISH) -> Heard:
    """What is in the words; two or more that the agent is saying itself are its echo: nothing."""
    said = plain(words).split()
    if not said or _echoed(said, plain(agent).split()):
        return Heard(echo=bool(said))
    rest = _without(said, lexicon.backchannels)
    return Heard(
        words=len(said),
        stop=_holds(rest, lexicon.stop),
        turning=_holds(rest, lexicon.turning),
        content=sum(word not in lexicon.hollow for word in rest),
        rest=len(rest),
        sounds=sum(word in lexicon.sounds for word in said),
        weighty=frozenset(rest) - lexicon.hollow,
    )


def _echoed(said: Sequence[str], agent: Sequence[str]) -> bool:
    """Two words or more, one after another, of what the agent says."""
    size = len(said)
    return size > 1 and any(
        list(agent[at : at + size]) == list(said) for at in range(len(agent) - size + 1)
    )


def _holds(said: Sequence[str], phrases: frozenset[str]) -> bool:
    padded = f" {' '.join(said)} "
    return any(f" {phrase} " in padded for phrase in phrases)


def _without(said: Sequence[str], phrases: frozenset[str]) -> list[str]:
    """The words less the phrases, the longest first."""
    rest: list[str] = []
    at = 0
    while at < len(said):
        size = next((n for n in (3, 2, 1) if " ".join(said[at : at + n]) in phrases), 0)
        if not size:
            rest.append(said[at])
        at += size or 1
    return rest


def says_stop(words: str, lexicon: Lexicon = ENGLISH) -> bool:
    """An explicit stop word, anywhere in the words; "fair enough" is none."""
    return _holds(_without(plain(words).split(), lexicon.backchannels), lexicon.stop)


def is_backchannel(words: str, lexicon: Lexicon = ENGLISH) -> bool:
    """Nothing but "mm-hm", "yeah", "okay" and their like, or nothing at all."""
    return not _without(plain(words).split(), lexicon.backchannels)


def plain(words: str) -> str:
    """Lower case, without the punctuation that some recognisers write."""
    return " ".join(re.findall(r"\w+", words.lower().replace("'", "")))
