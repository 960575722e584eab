"""Google's speech embedding in numpy: its definition in loops, its shape, the same words being alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.speech_embedding import (
    POOLED,
    SEEN,
    SHIPPED,
    SIZE,
    STRIDE,
    SpeechEmbedding,
    _convolved,
    _largest,
    _layer,
    steps,
)
from tests.alike import nearness

Numbers = npt.NDArray[np.float32]
EMBEDDING = SpeechEmbedding()


def slowly(x: Numbers, weights: Numbers, bias: Numbers) -> Numbers:
    """A convolution from its definition: bands are padded with zeros, time is not."""
    out, _, time, bands = weights.shape
    half = bands // 2
    made = np.zeros((x.shape[0] - time + 1, x.shape[1], out))
    for t in range(made.shape[0]):
        for b in range(made.shape[1]):
            for i in range(time):
                for j in range(bands):
                    if 0 <= b + j - half < x.shape[1]:
                        made[t, b] += weights[:, :, i, j] @ x[t + i, b + j - half]
    return (made + bias).astype(np.float32)


@pytest.mark.parametrize("shape", [(3, 3), (1, 3), (3, 1)])
def test_a_layer_is_what_its_definition_says(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((5, 4, *shape)).astype(np.float32)
    bias = rng.standard_normal(5).astype(np.float32)
    x = rng.standard_normal((7, 6, 4)).astype(np.float32)
    assert np.allclose(_convolved(x, _layer(weights, bias)), slowly(x, weights, bias), atol=1e-4)


@pytest.mark.parametrize("size", [(2, 2), (1, 2)])
def test_the_largest_of_each_few_is_kept_and_what_is_left_over_dropped(
    size: tuple[int, int],
) -> None:
    x = np.random.default_rng(2).standard_normal((7, 6, 3)).astype(np.float32)
    time, bands = size
    kept = _largest(x, *size)
    assert kept.shape == (7 // time, 6 // bands, 3)
    for t in range(kept.shape[0]):
        for b in range(kept.shape[1]):
            whole = x[time * t : time * (t + 1), bands * b : bands * (b + 1)]
            assert (kept[t, b] == whole.max(axis=(0, 1))).all()


def test_one_step_is_made_of_as_many_frames_as_are_said() -> None:
    """Through all layers 76 frames of 32 bands become one vector, eight more a second one."""
    with np.load(SHIPPED) as file:
        shapes = [file[f"conv{n}"].shape for n in range(sum(f.startswith("conv") for f in file))]
    for frames, made in ((SEEN, 1), (SEEN + STRIDE, 2), (SEEN - 1, 0)):
        time, bands = frames, 32
        for number, (_, _, taps, _) in enumerate(shapes):
            time -= taps - 1
            pooled = POOLED.get(number, (1, 1))
            time, bands = time // pooled[0], bands // pooled[1]
        assert (max(time, 0), bands) == (made, 1)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 40_000), st.floats(0.01, 0.9), st.integers(0, 2**32 - 1))
def test_steps_follow_the_length_and_loudness_makes_no_difference(
    length: int, level: float, seed: int
) -> None:
    sound = np.random.default_rng(seed).uniform(-1, 1, length)
    seen = EMBEDDING(sound * level)
    assert seen.shape == (steps(length), SIZE)
    assert np.isfinite(seen).all()
    if length >= 16_000:
        assert np.allclose(seen, EMBEDDING(sound * level / 2), atol=0.05)


def test_a_step_depends_on_its_own_sound_alone() -> None:
    sound = np.random.default_rng(4).uniform(-0.3, 0.3, 32_000)
    longer = EMBEDDING(sound)
    assert np.allclose(EMBEDDING(sound, most=5), longer[:5], atol=2.0)
    assert np.std(longer) > 5


def test_the_same_words_of_other_voices_are_nearer_than_other_words() -> None:
    """What it is for: it tells words, not voices."""
    same, other = nearness(EMBEDDING)
    assert same > other + 0.3


@pytest.mark.parametrize("content", [None, b"no numpy file"])
def test_a_file_that_is_none_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "embedding.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((OSError, ValueError)):
        SpeechEmbedding(path)
    np.savez(tmp_path / "empty.npz", mel=np.zeros((257, 32)))
    with pytest.raises(ValueError, match="no network"):
        SpeechEmbedding(tmp_path / "empty.npz")
