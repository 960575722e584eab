"""`python -m soak.cepstral_mean --clips var/floor/clips.npz` tells the mean a call begins with.

Of `soak.floor.voices`' phrases, each with a little noise at a level of chance (-26 to -14 dBFS), through
the decoder of engines/pocketsphinx_child.py. Prints the mean and the standard deviation of each cepstral
coefficient; CMN_INIT there is the mean, its first number (the level) a little less, for softer voices.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.pocketsphinx_child import load_decoder
from soak.floor.voices import clips_of

PHRASES = 150
SILENCE = 1600
"""Samples before and behind."""


def of_each(clips: Path, phrases: int, seed: int) -> npt.NDArray[np.float64]:
    """[phrases, coefficients]."""
    rng, decoder, made = np.random.default_rng(seed), load_decoder(), []
    sounds = [sound for _, _, sound in clips_of(clips)]
    for number in rng.permutation(len(sounds))[:phrases]:
        sound = np.pad(sounds[number] / 32768, SILENCE)
        sound *= 10 ** (rng.uniform(-26, -14) / 20) / np.sqrt(np.mean(sound**2))
        sound = np.clip(sound + rng.standard_normal(len(sound)) * 3e-4, -0.99, 0.99)
        decoder.start_utt()
        decoder.process_raw(np.rint(sound * 32767).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        made.append([float(number) for number in decoder.get_cmn(False).split(",")])
    return np.array(made)


def main() -> None:
    """Decode, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--phrases", type=int, default=PHRASES)
    parser.add_argument("--seed", type=int, default=0)
    order = parser.parse_args()
    means = of_each(order.clips, order.phrases, order.seed)
    for name, numbers in (("mean", means.mean(0)), ("deviation", means.std(0))):
        print(f"{name} {','.join(f'{number:.1f}' for number in numbers)}")


if __name__ == "__main__":
    main()
