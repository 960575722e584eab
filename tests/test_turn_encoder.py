"""Half of Whisper in numpy: its definition in loops, figures of the original, the same words alike."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.turn_encoder import BANDS, HEADS, SIZE, STEPS, TurnEncoder, _beside, _gelu, mel_bands
from ops import wav
from soak import caller_set
from tests.alike import nearness

Numbers = npt.NDArray[np.float64]
ENCODER = TurnEncoder()
SHAPE, MIDDLE = (20, SIZE), [0.375, 0.389, 0.430, 0.719, 0.227, -0.283]


def test_the_bands_are_triangles_of_equal_area_up_to_8_khz() -> None:
    bands = mel_bands()
    assert bands.shape == (201, BANDS)
    assert bands.min() == 0
    peaks = bands.argmax(axis=0)
    assert (np.diff(peaks) >= 0).all()
    assert peaks[-1] > 190
    wide = (
        bands[:, 40:].sum(axis=0) * 40
    )  # 40 Hz a bin: the lowest bands are narrower than two bins
    assert np.allclose(wide, 1, atol=0.08)


@given(st.floats(-8, 8))
def test_the_curve_is_that_of_the_error_function(x: float) -> None:
    exact = 0.5 * x * (1 + math.erf(x / math.sqrt(2)))
    assert _gelu(np.array([x], np.float32))[0] == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_sees_the_place_before_and_the_next_one(stride: int) -> None:
    x = np.arange(1, 9, dtype=np.float32)[:, None]
    rows = [[at, at + 1, at + 2 if at < 7 else 0] for at in range(0, 8, stride)]
    assert _beside(x, stride).tolist() == rows


def slowly(given: dict[str, Numbers], x: Numbers) -> Numbers:
    """A layer from its definition: who looks at whom, head by head, place by place."""

    def times(rows: Numbers, name: str) -> Numbers:
        made = rows @ (given[name] * given[f"{name}.scale"])
        return made + given.get(f"{name}.bias", np.zeros(made.shape[1]))

    def normal(rows: Numbers, name: str) -> Numbers:
        made = np.array([(row - row.mean()) / math.sqrt(row.var() + 1e-5) for row in rows])
        return made * given[f"{name}.gain"] + given[f"{name}.bias"]

    y = normal(x, "layer0.before")
    query, key, value = (times(y, f"layer0.{name}") for name in ("query", "key", "value"))
    seen, width = np.zeros_like(x), SIZE // HEADS
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        for at in range(len(x)):
            looks = np.exp([query[at, part] @ row[part] / math.sqrt(width) for row in key])
            seen[at, part] = sum(
                share * row[part] for share, row in zip(looks / looks.sum(), value, strict=True)
            )
    x = x + times(seen, "layer0.out")
    wide = _gelu(times(normal(x, "layer0.behind"), "layer0.wide").astype(np.float32))
    return x + times(wide.astype(np.float64), "layer0.narrow")


def test_a_layer_is_what_its_definition_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name in ("query", "key", "value", "out", "wide", "narrow"):
        shape = {"wide": (SIZE, 4 * SIZE), "narrow": (4 * SIZE, SIZE)}.get(name, (SIZE, SIZE))
        arrays[f"layer0.{name}"] = rng.integers(-127, 128, shape, np.int8)
        arrays[f"layer0.{name}.scale"] = rng.uniform(1e-4, 1e-3, shape[1]).astype(np.float16)
        arrays[f"layer0.{name}.bias"] = rng.standard_normal(shape[1]).astype(np.float16)
    del arrays["layer0.key.bias"]
    for name in ("before", "behind"):
        arrays[f"layer0.{name}.gain"] = rng.uniform(0.5, 1.5, SIZE).astype(np.float16)
        arrays[f"layer0.{name}.bias"] = rng.standard_normal(SIZE).astype(np.float16)
    np.savez(tmp_path / "one.npz", **arrays)  # type: ignore[arg-type] # numpy's stub: names of its own
    x = rng.standard_normal((5, SIZE))
    made = TurnEncoder(tmp_path / "one.npz")._layer(x.astype(np.float32), "layer0")
    expected = slowly({name: array.astype(np.float64) for name, array in arrays.items()}, x)
    assert np.allclose(made, expected, atol=1e-3)


def test_a_clip_sounds_as_it_does_to_the_original() -> None:
    """Its second layer, computed by torch with weights of 8 bits and 32 bits in between."""
    [clip] = [c for c in caller_set.load() if c.path.name == "interruption-hold_on-slt.wav"]
    seen = ENCODER(wav.read(clip.path) / 32768)
    assert seen.shape == SHAPE
    assert np.allclose(seen[len(seen) // 2, :6], MIDDLE, atol=0.02)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 40_000), st.floats(0.01, 0.9), st.integers(0, 2**32 - 1))
def test_steps_follow_the_length_and_loudness_makes_no_difference(
    length: int, level: float, seed: int
) -> None:
    sound = np.random.default_rng(seed).uniform(-1, 1, length)
    seen = ENCODER(sound * level)
    assert seen.shape == (min(STEPS, max(1, -(-(length // 160) // 4))), SIZE)
    assert np.isfinite(seen).all()
    if length >= 16_000:
        assert np.allclose(seen, ENCODER(sound * level / 2), atol=0.05)


def test_the_same_words_of_other_voices_are_nearer_than_other_words() -> None:
    same, other = nearness(ENCODER)
    assert same > other + 0.3


@pytest.mark.parametrize("content", [None, b"no numpy file"])
def test_a_file_that_is_none_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "encoder.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((OSError, ValueError)):
        TurnEncoder(path)
    np.savez(tmp_path / "empty.npz", places=np.zeros((100, SIZE)))
    with pytest.raises(ValueError, match="no layer"):
        TurnEncoder(tmp_path / "empty.npz")
