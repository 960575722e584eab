"""What speaks for and against an interruption goes in, a verdict comes out. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["wait", "commit", "restore"]

STOP_WORDS = frozenset({"stop", "wait", "hold on", "hang on", "excuse me", "no no", "enough"})
BACKCHANNELS = frozenset(
    """mm hm mhm mmhm hmm uh huh uhhuh ah oh aha yeah yes yep yup okay ok right sure see i
    alright all good fine great really wow nice true exactly""".split()  # noqa: SIM905 - readable
)
WORDS_NEED_MS = 200


@dataclass(frozen=True)
class Evidence:
    """One onset while the agent has the floor: lengths in ms, words as recognised so far."""

    voiced_ms: float
    words: str = ""
    ended: bool = False


def says_stop(words: str) -> bool:
    """An explicit stop word, anywhere in the words."""
    padded = f" {_plain(words)} "
    return any(f" {stop} " in padded for stop in STOP_WORDS)


def is_backchannel(words: str) -> bool:
    """Nothing but "mm-hm", "yeah", "okay" and their like, or nothing at all."""
    return all(word in BACKCHANNELS for word in _plain(words).split())


def _plain(words: str) -> str:
    """Lower case without the punctuation that some recognisers write."""
    return " ".join(re.findall(r"[\w']+", words.lower()))


def judge(evidence: Evidence, commit_ms: float) -> Verdict:
    """Stop words commit at once; so does `commit_ms` of voice; other words need less of it."""
    if says_stop(evidence.words):
        return "commit"
    if evidence.voiced_ms >= commit_ms and not (evidence.words and is_backchannel(evidence.words)):
        return "commit"
    if not is_backchannel(evidence.words) and evidence.voiced_ms >= WORDS_NEED_MS:
        return "commit"
    return "restore" if evidence.ended else "wait"
