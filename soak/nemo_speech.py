"""Speech to train the small model of NeMo on: sentences and voices go in, what each of them says comes out.

The voices are synthetic: flite and espeak-ng, and of festival, if it is there, two from diphones. Each
sentence is said at a speed of its own, in a throat of a length of its own (the sound is resampled).
"""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from soak import caller_set
from soak.callers.make_callers import NOISES, PHONES, at_level, coloured, shorten_pauses, trim

Sound = npt.NDArray[np.float32]
RATE = 16_000
LEVEL_DBFS = -20.0

_ESPEAK = (
    "en-us en-gb en-us+f2 en-us+f3 en-us+m3 en-us+m4 en-us+m7 en-gb+f4 en-gb+m1 en-gb+m5 en-us+Andy "
    "en-us+Annie en-us+Linda en-gb+Michael en-us+klatt2 en-us+steph en-us+David en-gb-scotland en-us+f1"
)
TRAINED = {
    "flite": ("kal16", "slt", "awb", "rms"),
    "espeak": tuple(_ESPEAK.split()),
    "festival": ("ked_diphone",),
}
"""Who trains it, by the program that speaks."""
SHARES = (60, 34, 6)
"""Per cent of the utterances, in that order."""
HELD_OUT = (
    ("festival", "rab_diphone"),
    ("espeak", "en-us+f5"),
    ("espeak", "en-gb+m8"),
    ("espeak", "en-us+Mike"),
)
"""Voices that are never trained on."""

_EXTRA = (
    "wait; excuse me; sorry; no; please; stop; hold on please; no wait; yeah right; okay right; "
    "yeah i see; okay; that is right; please wait; wait a minute; wait a minute please; wait please; "
    "a moment please; stop stop; no stop; tell me; tell me the time; what is the time; "
    "please tell me what time it is; "
    "what day is it; what day is today; tell me what day it is; how many days are in a minute; "
    "how many minutes are in a day; how many minutes are in a week; what is five plus seven; "
    "what is seven times twelve; what is twelve plus five; what is five times three; "
    "what is three plus one; what is seven times seven; what is one hundred times five; "
    "how do you spell france; spell the word story; spell the word weather; what is the word; "
    "what is the history of france; please tell me about the weather; tell me a story; "
    "tell me a long story please; tell me a little story; tell me the story of the ocean; "
    "tell me everything about france; please count to twelve; please count to five; "
    "wait a moment what is seven plus five; wait what day is it today; excuse me what time is it; "
    "sorry what time is it; sorry what is the capital of france; no what is twelve times seven; "
    "excuse me how do you spell ocean; wait how many minutes are in an hour; "
    "please tell me about the history of the ocean; tell me about the three little pigs"
)
EXTRA = _EXTRA.split("; ")
"""Other sentences of the same words, and parts of sentences: words are learned, not sentences alone."""


@dataclass(frozen=True)
class Said:
    """Mono float32 at 16 kHz, at LEVEL_DBFS, little silence around it; and its words."""

    sound: Sound
    text: str


def plain(text: str) -> str:
    """As the model writes it: no commas, "mm hm"."""
    return text.replace(",", "").replace("-", " ")


def phrases() -> list[str]:
    """What the shipped callers say."""
    return sorted({plain(clip.text) for clip in caller_set.load() if clip.kind != "noise"})


def shipped() -> list[Said]:
    """The shipped callers themselves: never trained on."""
    clips = [clip for clip in caller_set.load() if clip.kind != "noise"]
    return [Said(from_pcm(clip.pcm()), plain(clip.text)) for clip in clips]


def from_pcm(pcm: bytes) -> Sound:
    """Mono int16 PCM as float32 in [-1, 1)."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def missing() -> str:
    """What has to be installed first; empty if nothing."""
    lost = [name for name in ("flite", "espeak-ng", "text2wave") if shutil.which(name) is None]
    packages = "flite espeak-ng festival festvox-kdlpc16k festvox-rablpc16k"
    return f"{', '.join(lost)} missing: apt-get install {packages}" if lost else ""


def speech(sentences: list[str], repeats: dict[str, int], seed: int) -> Iterator[Said]:
    """Each sentence as often as told (or once), in voices, at speeds and in throats of chance."""
    thrown = random.Random(seed)
    for sentence in sentences:
        for _ in range(repeats.get(sentence, 1)):
            yield anyone(sentence, thrown)


def anyone(sentence: str, thrown: random.Random) -> Said:
    """A voice of those trained on says it."""
    kind = thrown.choices(tuple(TRAINED), SHARES)[0]
    return said(kind, thrown.choice(TRAINED[kind]), sentence, thrown)


def strangers(sentences: list[str], seed: int) -> Iterator[Said]:
    """Each voice held out says every sentence once, as it speaks by itself."""
    thrown = random.Random(seed)
    for kind, voice in HELD_OUT:
        for sentence in sentences:
            if not (kind == "festival" and sentence in OURS):
                yield said(kind, voice, sentence, thrown, itself=True)


OURS = {"mm hm": "[[mh'@m]]", "uh huh": "[[Vh'V]]"}
"""What festival can't say, in espeak's phones."""


def said(kind: str, voice: str, sentence: str, thrown: random.Random, itself: bool = False) -> Said:
    """`itself`: at the voice's own speed and in its own throat."""
    slow, throat = thrown.uniform(0.8, 1.25), thrown.uniform(0.88, 1.14)
    if itself:
        slow = throat = 1.0
    if kind == "festival" and sentence in OURS:
        kind, voice = "espeak", "en-us"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        give = b""
        if kind == "flite":
            dashed = sentence.replace(" ", "-")
            words = ["-p", PHONES[dashed]] if dashed in PHONES else ["-t", sentence]
            stretch = ["--setf", f"duration_stretch={slow * throat:.3f}"]
            order = ["flite", "-voice", voice, *stretch, *words, "-o", str(path)]
        elif kind == "espeak":
            words = [OURS.get(sentence, sentence)]
            pitch = 50 if itself else thrown.randrange(25, 75)
            speed = ["-s", str(round(165 / slow / throat)), "-p", str(pitch)]
            order = ["espeak-ng", "-v", voice, *speed, "-w", str(path), *words]
        else:
            stretch = ["-eval", f"(Parameter.set 'Duration_Stretch {slow * throat:.3f})"]
            order = ["text2wave", "-eval", f"(voice_{voice})", *stretch, "-o", str(path)]
            give = sentence.encode()
        subprocess.run(order, check=True, capture_output=True, input=give)
        with wave.open(str(path)) as wav:
            rate, pcm = wav.getframerate(), wav.readframes(wav.getnframes())
    return Said(tidy(from_pcm(pcm), rate * throat), sentence)


def tidy(sound: Sound, rate: float) -> Sound:
    """Brought to 16 kHz and LEVEL_DBFS, without long pauses: as the shipped callers were."""
    import soxr

    at_16k = soxr.resample(sound.astype(np.float64), rate, RATE)
    short: Sound = shorten_pauses(trim(at_level(at_16k, LEVEL_DBFS))).astype(np.float32)
    return short


def noises(count: int, seed: int) -> list[Said]:
    """Coughs, knocks, keys and breaths: no words."""
    made, rng = [], np.random.default_rng(seed)
    for n in range(count):
        _, make = list(NOISES.values())[n % len(NOISES)]
        made.append(Said(trim(at_level(make(rng), LEVEL_DBFS)).astype(np.float32), ""))
    return made


def backgrounds(seconds: float, seed: int) -> Sound:
    """Noises that a line may have, RMS 1, one after another: white, and bands of it [samples]."""
    rng = np.random.default_rng(seed)
    bands = ((20, 7900), (20, 7900), (50, 600), (100, 3400), (20, 300), (1000, 6000))
    parts = [coloured(rng, seconds / len(bands), low, high) for low, high in bands]
    return np.concatenate([part / part.std() for part in parts]).astype(np.float32)
