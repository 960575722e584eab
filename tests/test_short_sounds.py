"""Whether a short utterance wants the floor, by its sound: the network, and the shipped callers."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.floor import BANDS, FRAMES, LOUD, QUIET, RATE, SCALE, Floor, Network, spectrogram
from engines.speech_embedding import SIZE, SpeechEmbedding
from engines.steady_noise import without_steady_noise
from engines.turn_encoder import SIZE as EARS
from ops import wav
from soak import caller_set
from soak.duplex.trials import DUPLEX
from soak.floor.hums import SPELT, WORDS, hummed, lexicon
from soak.floor.phrases import BACKCHANNELS, COMMON, SHORT, URGENT, backchannels, floor_takers

SHORT_S = 1.3
PCM = np.random.default_rng(5).integers(-9000, 9000, 16_000).astype(np.int16).tobytes()


def said(kind: str) -> list[wav.Samples]:
    """The shipped clips of a kind that are short enough."""
    clips = [clip for clip in caller_set.load() + caller_set.load(DUPLEX) if clip.kind == kind]
    sounds = [wav.read(clip.path) for clip in clips]
    return [sound for sound in sounds if len(sound) < SHORT_S * RATE]


def odds(floor: Floor, sound: wav.Samples) -> float:
    """As audio_in asks: with what lies before and behind."""
    return floor(np.pad(sound, (6400, 4000)).tobytes())


def test_backchannels_and_interruptions_of_voices_it_never_heard_are_told_apart() -> None:
    floor = Floor()
    listens = [odds(floor, sound) for sound in said("backchannel")]
    wants = [odds(floor, sound) for sound in said("interruption")]
    assert len(listens) > 40
    assert len(wants) > 20
    area = np.mean(np.array(wants)[:, None] > np.array(listens)[None])
    assert area > 0.9
    assert np.median(wants) > 1
    assert np.median(listens) < -1


@given(st.integers(0, 80_000), st.floats(0.02, 0.9), st.integers(0, 2**32 - 1))
def test_what_it_sees_has_one_shape_and_no_loudness(length: int, level: float, seed: int) -> None:
    sound = np.random.default_rng(seed).uniform(-1, 1, length)
    seen = spectrogram(sound * level)
    assert seen.shape == (FRAMES, BANDS)
    assert seen.dtype == np.float32
    assert seen.min() >= QUIET
    assert seen.max() <= LOUD
    if length >= RATE // 10:
        assert np.allclose(seen, spectrogram(sound * 0.5 * level), atol=0.02)


def test_silence_and_nothing_at_all_want_nothing_in_particular() -> None:
    floor = Floor()
    for pcm in (b"", bytes(2), bytes(64_000)):
        assert np.isfinite(floor(pcm))


def says(odds: float, bands: int) -> dict[str, npt.NDArray[np.float32]]:
    """A network that says the same of every sound."""
    zeros = {"conv0": (1, bands, 4), "bias0": 4, "hidden": (2, 8), "hidden_bias": 2, "out": 2}
    made = {name: np.zeros(shape, np.float32) for name, shape in zeros.items()}
    return made | {"out_bias": np.array(odds, np.float32)}


@pytest.mark.parametrize(
    ("quick", "all_of_it"), [(4.9, 5.9), (-4.9, -3.9), (5.0, 5.0), (-5.1, -5.1)]
)
def test_the_slow_networks_are_asked_where_the_quick_ones_are_not_sure(
    tmp_path: Path, quick: float, all_of_it: float
) -> None:
    """A gain of half of what they say is added."""
    slow = says(2.0, EARS) | {
        "mean": np.zeros(EARS, np.float32),
        "scale": np.ones(EARS, np.float32),
    }
    arrays = {f"quick.{name}": array for name, array in says(quick, BANDS).items()}
    arrays |= {f"slow.{name}": array for name, array in slow.items()}
    np.savez(tmp_path / "both.npz", gains=np.array([1, 1, 0.5], np.float32), **arrays)  # type: ignore[arg-type] # numpy's stub: names of its own
    assert Floor(tmp_path / "both.npz")(PCM) == pytest.approx(all_of_it, abs=1e-5)


def plainly(arrays: dict[str, npt.NDArray[np.float64]], x: npt.NDArray[np.float64]) -> float:
    """The same network from its definition, in loops."""
    x = x * SCALE
    for number in (0, 1):
        weights, bias = arrays[f"conv{number}"], arrays[f"bias{number}"]
        half = len(weights) // 2
        made = np.zeros((len(x), weights.shape[2]))
        for at in range(len(x)):
            for tap in range(len(weights)):
                if 0 <= at + tap - half < len(x):
                    made[at] += x[at + tap - half] @ weights[tap]
        x = np.maximum(made + bias, 0)
        if number == 0:
            x = np.array([x[at : at + 2].max(axis=0) for at in range(0, len(x) - 1, 2)])
    pooled = np.concatenate([x.mean(axis=0), x.max(axis=0)])
    hidden = np.maximum(arrays["hidden"] @ pooled + arrays["hidden_bias"], 0)
    return float(arrays["out"] @ hidden + arrays["out_bias"])


def test_the_network_is_what_its_definition_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    shapes = {"conv0": (5, BANDS, 6), "bias0": (6,), "conv1": (3, 6, 4), "bias1": (4,)}
    shapes |= {"hidden": (7, 8), "hidden_bias": (7,), "out": (7,), "out_bias": ()}
    arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    x = rng.uniform(QUIET, LOUD, (FRAMES, BANDS))
    network = Network({name: array.astype(np.float32) for name, array in arrays.items()})
    assert network.odds(x.astype(np.float32)) == pytest.approx(plainly(arrays, x), rel=1e-4)
    twice = {f"a.{name}": array for name, array in arrays.items()}
    twice |= {f"b.{name}": array for name, array in arrays.items()}
    twice["b.out_bias"] = arrays["out_bias"] + 1.0
    np.savez(tmp_path / "two.npz", **twice)  # type: ignore[arg-type] # numpy's stub: names of its own
    seen = spectrogram(np.frombuffer(PCM, np.int16) / 32768)
    assert Floor(tmp_path / "two.npz")(PCM) == pytest.approx(network.odds(seen) + 0.5, rel=1e-4)


def test_hiss_is_taken_out_before_the_embedding_hears_a_sound(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    shapes = {"conv0": (3, SIZE, 8), "bias0": (8,), "hidden": (8, 16), "hidden_bias": (8,)}
    shapes |= {"out": (8,), "out_bias": (), "mean": (SIZE,)}
    arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    arrays["scale"] = np.ones(SIZE)
    np.savez(tmp_path / "one.npz", **{f"a.{name}": array for name, array in arrays.items()})  # type: ignore[arg-type] # numpy's stub: names of its own
    voice = np.pad(said("interruption")[0], (6400, 4000))
    hissing = (voice + 600 * rng.standard_normal(len(voice))).astype(np.int16)
    network = Network({name: array.astype(np.float32) for name, array in arrays.items()})
    heard = (
        network.odds(SpeechEmbedding()(sound))
        for sound in (without_steady_noise(hissing / 32768), hissing.astype(np.float32) / 32768)
    )
    clean, as_it_comes = heard
    assert abs(clean - as_it_comes) > 1
    assert Floor(tmp_path / "one.npz")(hissing.tobytes()) == pytest.approx(clean, rel=1e-3)


@pytest.mark.parametrize("content", [None, b"", b"no numpy file"])
def test_a_file_that_is_none_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "floor.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((OSError, ValueError, EOFError)):
        Floor(path)


@pytest.mark.parametrize("program", list(SPELT))
def test_hums_are_said_as_hums_and_words_as_they_are(program: str) -> None:
    """Synthesisers spell them: "mm-hm" is "em em aitch em"."""
    thrown = random.Random(1)
    two, one, breathed = (set(spelt) for spelt in SPELT[program])
    assert {hummed(program, "mm-hm", thrown) for _ in range(99)} == two
    assert {hummed(program, "mm", thrown) for _ in range(99)} == one
    assert {hummed(program, "hmm", thrown) for _ in range(99)} == breathed
    okay = hummed(program, "hmm okay mhm", thrown).split(" okay ")
    assert okay[0] in breathed
    assert okay[1] in two
    for phrase in (*SHORT, *URGENT):
        assert hummed(program, phrase, thrown) == phrase


def test_festival_is_taught_every_word_it_is_told_to_hum() -> None:
    assert all(f'"{word}"' in lexicon("ah", "hh") for kind in WORDS for word in kind)


def test_no_phrase_is_of_both_kinds_and_common_ones_come_up_more() -> None:
    assert not {*BACKCHANNELS, *COMMON} & {*SHORT, *URGENT}
    thrown = random.Random(2)
    said_often = backchannels(thrown, 400)
    assert len(said_often) == len(floor_takers(thrown, 400)) == 400
    assert 0.5 <= np.mean([text in COMMON for text in said_often]) < 0.9
