"""In come the phrases below; out go WAVs spoken by flite, seeded noises, and their manifest.

Run it from the repository's root: `.venv/bin/python -m soak.callers.make_callers`. It needs
Debian's `flite`: pocketsphinx understands its voices (6-9 % word error), not espeak's (64 %).
The WAVs are shipped, so this is run again only to change them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pocketsphinx import Decoder

from soak.caller_set import AUDIBLE_DBFS, FOLDER, RATE, WINDOW, audible

Sound = npt.NDArray[np.float64]
Noise = Callable[[np.random.Generator], Sound]

SEED = 20_240_607
MARGIN = RATE // 20
"""Silence kept at both ends: 50 ms."""

PAUSE = int(0.18 * RATE)
"""Longer pauses inside an utterance are cut to 180 ms: one clip is one turn."""

LEVEL_DBFS = {"backchannel": -24.0}
SPEECH_DBFS = -20.0
PEAK = 0.98

ALL = "slt awb rms kal16"

# Voices beside a phrase are those pocketsphinx understands to the word; where all four are listed
# for a short phrase ("hold on"), it is there for its sound: an interruption need not be understood.
PHRASES: dict[str, dict[str, str]] = {
    "question": {
        "what time is it": ALL,
        "what is twelve times seven": "rms kal16",
        "what is seven plus five": "rms kal16",
        "what day is it today": "rms",
        "how many days are in a week": "slt rms kal16",
        "how many minutes are in an hour": "slt rms kal16",
        "what is the capital of france": ALL,
        "how do you spell ocean": "awb rms kal16",
        "spell the word ocean": "rms kal16",
    },
    "long_request": {
        "please tell me a long story": "slt awb kal16",
        "tell me a very long story": "slt rms",
        "please tell me the story of the three little pigs": ALL,
        "tell me about the history of the ocean": "slt awb rms",
        "tell me everything about the weather": "awb rms",
        "please count to one hundred": "rms",
    },
    "interruption": {
        "stop please": "slt awb rms",
        "please stop": "slt kal16",
        "that is enough": "awb kal16",
        "hold on": ALL,
        "wait a moment": "slt awb rms",
        "wait, what time is it": ALL,
        "wait a moment, what time is it": "awb rms kal16",
        "wait, what is twelve times seven": "rms",
        "wait a minute, what is twelve times seven": "rms kal16",
        "excuse me, what is twelve times seven": "awb rms kal16",
        "excuse me, what is seven plus five": "rms kal16",
        "no, tell me what day it is today": "awb rms kal16",
        "sorry, how many days are in a week": "slt rms",
    },
    "backchannel": dict.fromkeys(("mm-hm", "uh-huh", "yeah", "okay", "right", "i see"), ALL),
}

PHONES = {
    "mm-hm": "pau m hh ah m m pau",
    "hmm": "pau hh m m m pau",
    "mhm": "pau m m hh m m pau",
    "aha": "pau ah hh aa pau",
}
"""What flite would spell letter by letter, in its phones."""


def main() -> None:
    """Write every clip and the manifest beside this file."""
    if shutil.which("flite") is None:
        sys.exit("flite is missing: apt-get install flite")
    for old in FOLDER.glob("*.wav"):
        old.unlink()
    rows = [spoken(kind, voice, text) for kind, voice, text in wanted()]
    rows += [noise(name, level, make) for name, (level, make) in NOISES.items()]
    (FOLDER / "manifest.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{len(rows)} clips in {FOLDER}")


def wanted() -> Iterator[tuple[str, str, str]]:
    """Every (kind, voice, text) of PHRASES."""
    for kind, texts in PHRASES.items():
        for text, voices in texts.items():
            for voice in voices.split():
                yield kind, voice, text


def spoken(kind: str, voice: str, text: str, folder: Path = FOLDER) -> dict[str, str | int]:
    """Say it, tidy it, write it, and let pocketsphinx have a go at it."""
    sound = at_level(say(voice, text), LEVEL_DBFS.get(kind, SPEECH_DBFS))
    row = write(kind, voice, text, shorten_pauses(trim(sound)), folder)
    if kind != "backchannel":
        with wave.open(str(folder / str(row["file"]))) as wav:
            pcm = wav.readframes(wav.getnframes())
        row |= {"pocketsphinx": understood(pcm), "pocketsphinx_live": understood(pcm, packet=640)}
    return row


def noise(name: str, level_dbfs: float, make: Noise) -> dict[str, str | int]:
    """Write one synthetic noise. Each has its own seed, so that adding one changes no other."""
    sound = make(np.random.default_rng([SEED, *name.encode()]))
    return write("noise", "none", name, trim(at_level(sound, level_dbfs)))


def say(voice: str, text: str) -> Sound:
    """Speak `text` with flite."""
    words = ["-p", PHONES[text]] if text in PHONES else ["-t", text]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        subprocess.run(["flite", "-voice", voice, *words, "-o", str(path)], check=True)
        with wave.open(str(path)) as wav:
            if wav.getframerate() != RATE:
                raise SystemExit(f"voice {voice} speaks at {wav.getframerate()} Hz, not {RATE}")
            pcm = wav.readframes(wav.getnframes())
    return np.frombuffer(pcm, "<i2") / 32768.0


def at_level(sound: Sound, dbfs: float) -> Sound:
    """Scale so that the audible part has an RMS of `dbfs`; no sample beyond PEAK."""
    for _ in range(3):  # what is audible depends on the level: three rounds settle it
        first, end = audible(as_int16(sound))
        rms = (
            float(np.sqrt(np.mean(sound[first:end] ** 2)))
            if end
            else float(np.sqrt(np.mean(sound**2)))
        )
        sound = sound * (10 ** (dbfs / 20) / rms)
    return np.clip(sound, -PEAK, PEAK)


def trim(sound: Sound) -> Sound:
    """Keep MARGIN around the audible part; where there is less, add silence."""
    padded = np.pad(sound, MARGIN)
    first, end = audible(as_int16(padded))
    return padded[first - MARGIN : end + MARGIN]


def shorten_pauses(sound: Sound) -> Sound:
    """Cut the middle out of pauses longer than PAUSE."""
    levels = np.convolve(sound**2, np.ones(WINDOW) / WINDOW, mode="same")
    loud = np.flatnonzero(levels > 10 ** (AUDIBLE_DBFS / 10))
    keep = np.ones(len(sound), dtype=bool)
    for before, after in pairwise(loud):
        if after - before > PAUSE:
            keep[before + PAUSE // 2 : after - PAUSE // 2] = False
    return sound[keep]


def write(
    kind: str, voice: str, text: str, sound: Sound, folder: Path = FOLDER
) -> dict[str, str | int]:
    """Write the WAV; its line of the manifest."""
    name = "_".join("".join(c if c.isalnum() else " " for c in text).split())
    path = folder / f"{kind}-{name}-{voice}.wav"
    pcm = as_int16(sound)
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(RATE)
        wav.writeframes(pcm.astype("<i2").tobytes())
    onset, end = audible(pcm)
    return {
        "file": path.name,
        "kind": kind,
        "voice": voice,
        "text": text,
        "onset_sample": onset,
        "end_sample": end,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def as_int16(sound: Sound) -> npt.NDArray[np.int16]:
    """Samples as a WAV holds them."""
    return np.round(np.clip(sound, -1.0, 1.0) * 32767).astype(np.int16)


def understood(pcm: bytes, packet: int = 0) -> str:
    """What pocketsphinx makes of it amid silence; fed in packets as on a live line, if given.

    A fresh decoder each time: its cepstral mean would otherwise remember the clip before.
    """
    decoder = Decoder(samprate=RATE, loglevel="FATAL")
    quiet = bytes(RATE // 2)
    pcm = quiet + pcm + quiet
    decoder.start_utt()
    for start in range(0, len(pcm), packet or len(pcm)):
        decoder.process_raw(pcm[start : start + (packet or len(pcm))], full_utt=not packet)
    decoder.end_utt()
    return decoder.hyp().hypstr if decoder.hyp() else ""


def coloured(rng: np.random.Generator, seconds: float, low_hz: float, high_hz: float) -> Sound:
    """White noise of which only a band is left."""
    spectrum = np.fft.rfft(rng.standard_normal(int(seconds * RATE)))
    hz = np.fft.rfftfreq(int(seconds * RATE), 1 / RATE)
    spectrum[(hz < low_hz) | (hz > high_hz)] = 0
    return np.fft.irfft(spectrum, int(seconds * RATE))


def swell(seconds: float, attack_s: float, decay_s: float) -> Sound:
    """An envelope: linear rise, exponential fall."""
    time = np.arange(int(seconds * RATE)) / RATE
    rise = np.minimum(time / attack_s, 1.0)
    return rise * np.exp(-np.maximum(time - attack_s, 0) / decay_s)


def cough(rng: np.random.Generator) -> Sound:
    """Two barks of throat-coloured noise over a short hoarse tone."""
    time = np.arange(int(0.28 * RATE)) / RATE
    hoarse = np.sign(np.sin(2 * np.pi * (170 - 120 * time) * time)) * 0.02
    barks = [
        (coloured(rng, 0.28, 250, 3_500) + hoarse) * swell(0.28, 0.008, decay) * gain
        for decay, gain in ((0.06, 1.0), (0.045, 0.7))
    ]
    return np.concatenate([barks[0], np.zeros(RATE // 20), barks[1]])


def knock(rng: np.random.Generator) -> Sound:
    """Three knocks on a wooden door."""
    time = np.arange(int(0.22 * RATE)) / RATE
    blows = []
    for _ in range(3):
        body = sum(
            gain * np.sin(2 * np.pi * hz * rng.uniform(0.97, 1.03) * time) * np.exp(-time / decay)
            for hz, gain, decay in ((180, 1.0, 0.03), (410, 0.5, 0.018), (950, 0.25, 0.008))
        )
        blows.append(body + 0.3 * coloured(rng, 0.22, 500, 5_000) * np.exp(-time / 0.004))
    return np.concatenate(blows)


def keyboard(rng: np.random.Generator) -> Sound:
    """A second and a half of typing: a sharp click down, a softer one up, for each key."""
    sound = np.zeros(int(1.6 * RATE))
    for press in np.cumsum(rng.uniform(0.09, 0.2, 9)):
        for delay, gain in ((0.0, 1.0), (rng.uniform(0.05, 0.08), 0.4)):
            click = coloured(rng, 0.03, 1_500, 7_500) * swell(0.03, 0.0005, 0.004) * gain
            at = int((press + delay) * RATE)
            sound[at : at + len(click)] += click[: len(sound) - at]
    return sound


def breath(rng: np.random.Generator) -> Sound:
    """One breath out: soft band noise that rises and falls."""
    return coloured(rng, 0.9, 400, 5_000) * np.hanning(int(0.9 * RATE)) ** 1.5


def white_burst(rng: np.random.Generator) -> Sound:
    """A quarter of a second of plain white noise."""
    return rng.standard_normal(RATE // 4)


NOISES: dict[str, tuple[float, Noise]] = {
    "cough": (-20.0, cough),
    "cough again": (-22.0, cough),
    "door knock": (-24.0, knock),
    "keyboard": (-34.0, keyboard),
    "breath": (-36.0, breath),
    "white burst": (-24.0, white_burst),
}


if __name__ == "__main__":
    main()
