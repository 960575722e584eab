"""How each synthesiser is to be told to hum: "mm-hm" and "hmm" it would else spell, letter by letter. Pure.

"mm-hm" is "em em aitch em" to espeak-ng and Festival. Phones are written as each of them wants them:
Kirshenbaum's in double brackets (espeak-ng), X-SAMPA in a tag (SVOX Pico), an entry of the lexicon
(Festival); RHVoice gets words that sound alike.
"""

from __future__ import annotations

import random
import re

HUM = re.compile(r"\b(?:(mm-hm|mm hmm|mhm)|(mmm|mm)|(hmm|hm))\b")
"""Of two syllables, of one, and of one with a breath before it."""
Spellings = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
WORDS: Spellings = (("mmhm",), ("mmmm",), ("hmmm",))
"""For Festival: the entries of `lexicon`."""
SPELT: dict[str, Spellings] = {
    "espeak": (
        ("[[mh'Vm]]", "[[@mh'@m]]", "[[m:h'm:]]", "[[@m:h'@m:]]"),
        ("[[@m:]]", "[[mm:]]"),
        ("[[h'm:]]", "[[h'@m:]]", "[[h'Vm:]]"),
    ),
    "pico": (
        ("<phoneme ph='m.hVm'/>", "<phoneme ph='Vm.hVm'/>", "<phoneme ph='@m.h@m'/>"),
        ("<phoneme ph='mm'/>", "<phoneme ph='Vm'/>"),
        ("<phoneme ph='hVm'/>", "<phoneme ph='h@m'/>"),
    ),
    "festival": WORDS,
    "rhvoice": (("umhum", "mhum"), ("um",), ("hum",)),
}


def hummed(program: str, text: str, thrown: random.Random) -> str:
    """The text with its hums as this program of `soak/floor/voices.py` wants them."""
    spelt = SPELT[program]
    return HUM.sub(lambda found: thrown.choice(spelt[(found.lastindex or 1) - 1]), text)


def lexicon(vowel: str, breath: str) -> str:
    """Festival's commands that teach it `WORDS`, in the phones of its voice."""
    entries = (
        ("mmhm", f"(({vowel} m) 0) (({breath} {vowel} m) 1)"),
        ("mmmm", f"(({vowel} m) 1)"),
        ("hmmm", f"(({breath} {vowel} m) 1)"),
    )
    return " ".join(f'(lex.add.entry \'("{word}" nil ({said})))' for word, said in entries)
