"""Whether what looks at a sound tells words, and not voices, by the shipped callers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ops import wav
from soak import caller_set

TEXTS = ("mm-hm", "okay", "hold on", "stop please")


def nearness(look: Callable[[Any], Any]) -> tuple[float, float]:
    """The mean cosine between the same words of two voices, and between other words: means over time."""
    clips = [clip for clip in caller_set.load() if clip.text in TEXTS]
    made = [(clip.text, look(wav.read(clip.path) / 32768).mean(axis=0)) for clip in clips]
    mean = np.mean([vector for _, vector in made], axis=0)
    units = [(text, (v - mean) / np.linalg.norm(v - mean)) for text, v in made]
    pairs = [(a[0] == b[0], a[1] @ b[1]) for n, a in enumerate(units) for b in units[:n]]
    same = [near for alike, near in pairs if alike]
    other = [near for alike, near in pairs if not alike]
    return float(np.mean(same)), float(np.mean(other))
