"""Windows that overlap become one sound: nothing is lost, doubled or moved, and nothing clicks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engines.seams import FADE, Seams, Sound

TOKEN = 960
PITCH = 2 * np.pi * 150 / 24_000
lengths = st.lists(st.integers(1, 30), min_size=1, max_size=8)
"""Of the windows' new parts, in tokens."""


def windows(tokens: list[int], context: int) -> list[tuple[int, int]]:
    """[start, end) of each in samples: so much that is new, and `context` tokens before it."""
    ends = np.cumsum(tokens)
    starts = [max(0, int(end) - new - 1 - context) for end, new in zip(ends, tokens, strict=True)]
    return [(TOKEN * start, TOKEN * int(end)) for start, end in zip(starts, ends, strict=True)]


def tone(start: int, end: int, phase: float = 0.0) -> Sound:
    return np.asarray(np.sin(PITCH * np.arange(start, end) + phase), np.float32)


def joined(tokens: list[int], context: int, phases: list[float]) -> list[Sound]:
    seams, pieces = Seams(), list[Sound]()
    spans = windows(tokens, context)
    for number, ((start, end), phase) in enumerate(zip(spans, phases, strict=True)):
        last = number == len(spans) - 1
        pieces.append(seams.join(tone(start, end, phase), start, last))
        assert seams.made == end - (0 if last else FADE)
    return pieces


@given(lengths, st.integers(0, 12))
def test_windows_of_one_sound_are_that_sound(tokens: list[int], context: int) -> None:
    whole = np.concatenate(joined(tokens, context, [0.0] * len(tokens)))
    assert np.allclose(whole, tone(0, TOKEN * sum(tokens)), atol=1e-5)


@given(lengths, st.integers(0, 12), st.data())
def test_windows_that_differ_make_no_click(
    tokens: list[int], context: int, data: st.DataObject
) -> None:
    """Half a period apart at worst. No step is much larger than the tone's own; a cut's is, 50 times."""
    phase = st.floats(0, 2 * np.pi)
    phases = data.draw(st.lists(phase, min_size=len(tokens), max_size=len(tokens)))
    whole = np.concatenate(joined(tokens, context, phases))
    assert np.abs(np.diff(whole)).max() < 1.2 * PITCH
