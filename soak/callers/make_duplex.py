"""In come the phrases below; out go the further WAVs and the manifest of the duplex benchmark.

Run it from the repository's root: `.venv/bin/python -m soak.callers.make_duplex`; it needs Debian's
`flite` as make_callers does. Its clips lie in a folder of their own, beside the demo's and tests'.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator

from soak.caller_set import FOLDER
from soak.callers.make_callers import ALL, spoken

DUPLEX = FOLDER / "duplex"

INTERRUPTIONS = (
    "stop",
    "wait",
    "no no no",
    "hang on a second",
    "stop talking",
    "be quiet please",
    "never mind",
    "that is not what i asked",
    "no, i meant something else",
    "i have another question",
    "can i say something",
    "let me ask you something",
    "could you say that again",
    "what did you say",
    "tell me a joke",
    "who are you",
    "what can you do",
    "help me",
    "can you count to five",
    "flip a coin",
    "what is the weather like",
    "spell the word house",
    "how many days are in a year",
    "what is ten minus four",
    "actually, what time is it",
    "okay but what day is it today",
    "yes but tell me the time",
    "right, now tell me a joke",
    "thank you that will do",
    "good bye",
)
"""Voices take turns, the first 20 have two each; some begin as a backchannel would."""

TWICE = 20

BACKCHANNELS = (
    *("hmm", "mhm", "aha", "oh", "ah", "sure", "yes"),
    *("all right", "wow", "of course", "got it", "oh really", "that is true"),
)
OPENINGS = ("can you tell me", "i would like to know", "so um", "please tell me")
"""What a caller says before he has to think: a question follows."""

ADDITIONS = ("and what day is it today", "please", "and spell the word house", "if you can")
"""What a caller adds when his question seemed to be complete."""


def main() -> None:
    """Write every clip and the manifest."""
    if shutil.which("flite") is None:
        sys.exit("flite is missing: apt-get install flite")
    DUPLEX.mkdir(exist_ok=True)
    for old in DUPLEX.glob("*.wav"):
        old.unlink()
    rows = [spoken(kind, voice, text, DUPLEX) for kind, voice, text in wanted()]
    (DUPLEX / "manifest.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{len(rows)} clips in {DUPLEX}")


def wanted() -> Iterator[tuple[str, str, str]]:
    """Every (kind, voice, text)."""
    voices = ALL.split()
    for number, text in enumerate(INTERRUPTIONS):
        second = (number + 1 + number // 4 % 3) % 4
        for voice in (voices[number % 4], voices[second])[: 1 + (number < TWICE)]:
            yield "interruption", voice, text
    for text in BACKCHANNELS:
        yield from (("backchannel", voice, text) for voice in voices)
    for text in OPENINGS:
        yield from (("opening", voice, text) for voice in ("slt", "awb", "rms"))
    for text in ADDITIONS:
        yield from (("addition", voice, text) for voice in ("slt", "rms"))


if __name__ == "__main__":
    main()
