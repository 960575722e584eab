"""What NeMo's recognisers are fed with, and where their words are put: rules without the model."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.batch_nemo import LONGEST, stretches, within
from engines.nemo_frames import BEFORE, CONTEXT, HALF, HOP, SUBSAMPLING, Cutter, Window
from engines.nemo_model import FRAME, placed

AHEADS = st.sampled_from([0, 1, 6, 13])
PACKETS = st.lists(st.integers(0, 9000), max_size=12)
TAIL = 5120


def cut(ahead: int, packets: list[int], tail: int = TAIL) -> tuple[np.ndarray, list[Window]]:
    """Noise in packets of so many samples: the whole with its tail, and the windows of it."""
    noise = np.random.default_rng(1).integers(-32768, 32767, sum(packets), "<i2")
    cutter, windows, at = Cutter(ahead), list[Window](), 0
    for size in packets:
        cutter.push(noise[at : at + size].tobytes())
        at += size
        while window := cutter.next():
            windows.append(window)
        assert cutter.end == at
    cutter.close(tail)
    while window := cutter.next():
        windows.append(window)
    return np.concatenate([noise, np.zeros(tail, "<i2")]).astype(np.float32) / 32768, windows


@given(AHEADS, PACKETS)
@settings(deadline=None, max_examples=60)
def test_each_mel_frame_is_given_once_with_its_own_sound(ahead: int, packets: list[int]) -> None:
    whole, windows = cut(ahead, packets)
    padded = np.concatenate([np.zeros(CONTEXT * HOP), whole, np.zeros(HALF)])
    had = 0
    for window in windows:
        begin = max(0, had - BEFORE)
        sound = padded[begin * HOP :][: len(window.sound)]
        assert np.array_equal(window.sound, sound)
        assert len(window.sound) == (CONTEXT + window.frames - 1) * HOP + HALF
        assert window.drop == (0, 1, 2)[min(had, 2)]
        had = begin + window.frames
        if not window.last:
            assert had % (SUBSAMPLING * (ahead + 1)) == SUBSAMPLING * (ahead + 1) - 7
    assert had == len(whole) // HOP
    assert [window.last for window in windows] == [False] * (len(windows) - 1) + [True]


@given(AHEADS, PACKETS)
@settings(deadline=None, max_examples=30)
def test_the_packets_don_t_matter(ahead: int, packets: list[int]) -> None:
    _, windows = cut(ahead, packets)
    _, others = cut(ahead, [sum(packets)])
    assert len(windows) == len(others)
    for one, other in zip(windows, others, strict=True):
        assert np.array_equal(one.sound, other.sound)
        assert (one.frames, one.drop, one.last) == (other.frames, other.drop, other.last)


def test_a_chunk_is_given_as_soon_as_its_sound_is_there() -> None:
    cutter = Cutter(1)
    cutter.push(bytes(2 * (8 * HOP + HALF - 1)))
    assert cutter.next() is None
    cutter.push(bytes(2))
    assert cutter.next() is not None


def test_a_fork_and_what_it_was_forked_from_go_their_own_ways() -> None:
    cutter = Cutter(0)
    cutter.push(bytes(2 * 3000))
    cutter.next()
    fork = cutter.fork()
    fork.close(TAIL)
    while fork.next():
        pass
    assert (fork.closed, cutter.closed, cutter.end) == (True, False, 3000)
    assert cutter.next() is not None


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8).map(sorted), st.integers(0, 70_000))
def test_words_lie_in_order_within_their_utterance(at: list[int], length: int) -> None:
    pieces = ["\u2581a" if n % 2 == 0 else "b" for n in range(len(at))]
    words = "".join(pieces).replace("\u2581", " ").split()
    for told in (words, [*words, "more"]):
        made = placed(told, pieces, at, 1000, 1000 + length)
        assert [word.text for word in made] == told
        edges = [edge for word in made for edge in (word.start, word.end)]
        assert edges == sorted(edges)
        assert edges[0] >= 1000
        assert edges[-1] <= 1000 + length


def test_a_word_is_where_its_first_piece_was_told() -> None:
    made = placed(["ab", "c"], ["\u2581a", "b", "\u2581c"], [2, 3, 7], 160, 100_000)
    assert [(word.start, word.end) for word in made] == [
        (160 + 2 * FRAME, 160 + 7 * FRAME),
        (160 + 7 * FRAME, 160 + 8 * FRAME),
    ]
    assert placed([], [], [], 0, 5) == ()


def test_long_recordings_are_cut_where_it_is_quiet() -> None:
    sound = np.ones(2 * LONGEST, np.float32)
    sound[LONGEST - 32_000 : LONGEST - 31_000] = 0
    pieces = stretches(sound)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == len(sound)
    assert all(one[1] == other[0] for one, other in pairwise(pieces))
    assert all(end - start <= LONGEST for start, end in pieces)
    assert LONGEST - 32_000 <= pieces[0][1] < LONGEST - 31_000
    assert stretches(np.zeros(0, np.float32)) == []


@pytest.mark.parametrize("end", [16_000, 40_000])
def test_words_of_a_stretch_are_in_order_and_inside(end: int) -> None:
    words = within((("a", -0.1, 0.5), ("b", 0.4, 1.2), ("c", 3.0, 9.0)), 1000, end)
    edges = [edge for word in words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert edges[0] >= 1000
    assert edges[-1] <= end
