"""Synthetic speakers: `python -m soak.floor.voices --out var/floor/clips.npz` says phrases.

Needs programs of these Debian packages (contrib and non-free among them): espeak-ng mbrola
mbrola-{us1,us2,us3,en1,af1,de4,de5,de6,fr1,fr4,gr2,hu1,nl2,pl1,ro1,sw1,sw2} libttspico-utils festival
festvox-kdlpc16k festvox-rablpc16k festvox-don rhvoice rhvoice-english. The voices slt, awb, rms and kal are
left out on purpose, whichever program has them: the shipped callers are made of them, and are what the
network is tried on.
"""

from __future__ import annotations

import argparse
import random
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from multiprocessing import Pool
from pathlib import Path

import numpy as np

from ops import wav
from soak.floor.hums import hummed, lexicon
from soak.floor.phrases import answers, backchannels, floor_takers

FOREIGN = (
    "af1",
    "de4",
    "de5",
    "de6",
    "fr1",
    "fr4",
    "gr2",
    "hu1",
    "nl2",
    "pl1",
    "ro1",
    "sw1",
    "sw2",
)
"""Voices of recorded people of other languages, who speak English with their accent."""
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-029", "en-us-nyc")
_NAMES = """
Alex Alicia Andrea Andy Annie Denis Gene Hugo Lee Marco Mario Michael Mike Storm adam
anika announcer antonio aunty belinda benjamin boris caleb david ed edward f1 f2 f3 f4
f5 grandma iven john kaukovalta klatt2 klatt4 klatt6 linda m1 m2 m3 m4 m5 m7 max michel
miguel norbert paul quincy rob robert sandro shelby steph2 travis victor zac
"""
VARIANTS = tuple(_NAMES.split())
SPEAKERS = (
    *(("espeak", f"{ACCENTS[n % 5]}+{name}") for n, name in enumerate(VARIANTS)),
    *(("espeak", f"mb-{name}") for name in ("us1", "us2", "us3", "en1") for _ in range(4)),
    *(("espeak", f"mb-{name}-en") for name in FOREIGN for _ in range(2)),
    *(("pico", language) for language in ("en-US", "en-GB") for _ in range(4)),
    *(("festival", f"{name}_diphone") for name in ("ked", "rab", "don") for _ in range(2)),
    *(
        ("rhvoice", name)
        for name in ("alan", "bdl", "clb", "evgeniy-eng", "lyubov")
        for _ in range(8)
    ),
)
PHRASES = 130
"""Of each speaker, and so many backchannels; voices that sound human come up two or four times."""
ANSWERS = 45
"""Of each speaker, besides."""
LONGEST_S = 1.6
Clip = tuple[int, str, wav.Samples]
"""Whether it takes the floor, what is said, and its samples at 16 kHz."""


def espeak(voice: str, text: str, thrown: random.Random, path: Path) -> list[str]:
    """The command that says it, at a speed and a pitch of chance."""
    speed, pitch = thrown.randint(135, 215), thrown.randint(20, 80)
    return ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "-w", str(path), text]


def pico(voice: str, text: str, thrown: random.Random, path: Path) -> list[str]:
    """The same of SVOX Pico."""
    pitch, speed = thrown.randint(70, 140), thrown.randint(85, 130)
    said = f"<pitch level='{pitch}'><speed level='{speed}'>{text}</speed></pitch>"
    return ["pico2wave", "-l", voice, "-w", str(path), said]


def festival(voice: str, text: str, thrown: random.Random, path: Path) -> list[str]:
    """The same of Festival."""
    stretch = f"(Parameter.set 'Duration_Stretch {thrown.uniform(0.8, 1.15):.2f})"
    saved = f'(utt.save.wave (utt.synth (Utterance Text "{text}")) "{path}")'
    hums = lexicon("ah", "hh") if voice == "ked_diphone" else lexicon("@", "h")
    return ["festival", "-b", f"(begin (voice_{voice}) {hums} {stretch} {saved})"]


def rhvoice(voice: str, text: str, thrown: random.Random, path: Path) -> list[str]:
    """The same of RHVoice: models of recorded people."""
    rate, pitch = thrown.randint(70, 150), thrown.randint(75, 135)
    saying = f"echo {shlex.quote(text)} | RHVoice-test -p {voice} -r {rate} -t {pitch} -o {path}"
    return ["sh", "-c", saying]


COMMANDS: dict[str, Callable[[str, str, random.Random, Path], list[str]]] = {
    "espeak": espeak,
    "pico": pico,
    "festival": festival,
    "rhvoice": rhvoice,
}


def spoken(job: tuple[str, str, int]) -> list[tuple[int, str, str, wav.Samples]]:
    """All of one speaker: (whether it takes the floor, text, voice, samples at 16 kHz)."""
    program, voice, seed = job
    thrown = random.Random(seed)
    texts = [(0, text) for text in backchannels(thrown, PHRASES)]
    texts += [(1, text) for text in floor_takers(thrown, PHRASES)]
    texts += [(1, text) for text in answers(thrown, ANSWERS)]
    clips = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        for takes, text in texts:
            command = COMMANDS[program](voice, hummed(program, text, thrown), thrown, path)
            subprocess.run(command, check=True, capture_output=True, timeout=600)
            sound = trimmed(wav.read(path))
            if 0.05 < len(sound) / 16_000 < LONGEST_S:
                clips.append((takes, text, f"{program}:{voice}", sound))
    return clips


def trimmed(sound: wav.Samples) -> wav.Samples:
    """Without the silence around it."""
    level = np.convolve(np.abs(sound.astype(np.float32)), np.ones(80) / 80, "same")
    loud = np.flatnonzero(level > 0.03 * level.max(initial=0))
    return sound[max(0, loud[0] - 160) : loud[-1] + 320] if len(loud) else sound[:0]


def clips_of(path: Path) -> list[Clip]:
    """What `main` wrote."""
    with np.load(path) as file:
        sounds = np.split(file["sound"], file["ends"][:-1])
        return list(zip(map(int, file["takes"]), map(str, file["texts"]), sounds, strict=True))


def main() -> None:
    """Say them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--speakers", type=int, default=len(SPEAKERS), help="only so many")
    parser.add_argument("--seed", type=int, default=1)
    order = parser.parse_args()
    jobs = [(*speaker, order.seed * 1000 + n) for n, speaker in enumerate(SPEAKERS)]
    clips = []
    with Pool() as pool:
        for number, some in enumerate(pool.imap(spoken, jobs[: order.speakers]), 1):
            clips += some
            print(f"{number} of {order.speakers} speakers, {len(clips)} clips", flush=True)
    takes, texts, voices, sounds = zip(*clips, strict=True)
    order.out.parent.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum([len(sound) for sound in sounds])
    np.savez_compressed(
        order.out,
        takes=np.array(takes),
        texts=np.array(texts),
        voices=np.array(voices),
        ends=ends,
        sound=np.concatenate(sounds),
    )


if __name__ == "__main__":
    main()
