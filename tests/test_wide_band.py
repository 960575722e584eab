"""A telephone made wide: what is missing comes back, what is not narrow stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.pocketsphinx_child import Listener, load_decoder
from engines.wide_band import HOP, MISSING, RATE, Network, WideBand, levels_db, power
from ops import wav
from soak import caller_set
from soak.spectrum import band

Sound = npt.NDArray[np.float64]
STORIES = [clip for clip in caller_set.load() if clip.kind == "long_request"]


def over_telephone(sound: Sound) -> Sound:
    """As ITU-T G.712 has it, roughly, with the silence in which a recogniser begins."""
    return band(np.pad(sound, RATE // 4), 300, 3400)


def pcm_of(sound: Sound) -> bytes:
    return np.rint(np.clip(sound, -0.999, 0.999) * 32767).astype(np.int16).tobytes()


def widened(pcm: bytes, packet: int = 640) -> bytes:
    wide = WideBand()
    parts = [wide.push(pcm[at : at + packet]) for at in range(0, len(pcm), packet)]
    return b"".join(parts) + wide.flush()


def missing_db(pcm: bytes) -> Sound:
    """The level of each band that a telephone does not pass, mean of the windows with a voice in them."""
    sound = np.frombuffer(pcm, np.int16) / 32768.0
    windows = np.lib.stride_tricks.sliding_window_view(sound, 2 * HOP)[::HOP]
    loud = np.mean(windows**2, axis=1) > 1e-4
    return np.asarray(levels_db(power(windows[loud]), MISSING).mean(axis=0))


@settings(deadline=None, max_examples=30)
@given(st.binary(max_size=9000), st.integers(1, 3000))
def test_as_much_comes_out_as_goes_in_however_it_is_cut(pcm: bytes, packet: int) -> None:
    pcm = pcm[: len(pcm) & ~1]
    assert widened(pcm, packet) == widened(pcm)
    assert len(widened(pcm)) == len(pcm)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 12_000), st.floats(0.001, 0.9), st.integers(0, 2**32 - 1))
def test_what_is_not_narrow_stays_as_it_is(length: int, level: float, seed: int) -> None:
    pcm = pcm_of(np.random.default_rng(seed).uniform(-level, level, length))
    assert widened(pcm) == pcm


@pytest.mark.parametrize("kind", ["question", "interruption", "backchannel"])
def test_no_shipped_clip_in_full_band_is_touched_beyond_its_first_windows(kind: str) -> None:
    """The beginning of "wait", out of digital silence, seems narrow until its t: noise 18 dB below."""
    for clip in caller_set.find(kind):
        pcm = pcm_of(np.pad(wav.read(clip.path) / 32768.0, RATE // 4))
        heard, made = (np.frombuffer(one, np.int16) / 32768.0 for one in (pcm, widened(pcm)))
        added = np.mean((made - heard) ** 2) / np.mean(heard**2)
        assert added < 10 ** (-18 / 10), clip.path.name


@pytest.mark.parametrize("clip", STORIES, ids=lambda clip: clip.path.stem)
def test_what_a_telephone_took_comes_back_nearly_as_loud(clip: caller_set.Clip) -> None:
    sound = wav.read(clip.path) / 32768.0
    was = missing_db(pcm_of(np.pad(sound, RATE // 4)))
    came = pcm_of(over_telephone(sound))
    off_db = np.abs(missing_db(widened(came)) - was).mean()
    assert off_db < 8
    assert off_db < np.abs(missing_db(came) - was).mean() - 12


def test_lost_sound_in_the_middle_does_not_end_it() -> None:
    """A gap is a click in every band."""
    sound = over_telephone(wav.read(STORIES[0].path) / 32768.0)
    half = len(sound) // 2
    sound[half : half + 320] = 0
    wide = WideBand()
    wide.push(pcm_of(sound))
    assert wide.narrow


def test_a_story_is_understood_over_a_telephone() -> None:
    """Without this they came out as "hm", "whew" and "what are you": none of them."""
    listener = Listener(load_decoder(), RATE)
    understood = 0
    for clip in STORIES[::3]:
        listener.begin(0, 0)
        list(listener.feed(pcm_of(over_telephone(wav.read(clip.path) / 32768.0))))
        understood += len(set(clip.text.split()) & set(listener.finish().text.split())) >= 3
    assert understood >= len(STORIES[::3]) - 1


@pytest.mark.parametrize("content", [None, b"no numpy file"])
def test_a_file_that_is_none_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "network.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((OSError, ValueError)):
        Network(path)


def test_a_network_of_another_shape_is_told(tmp_path: Path) -> None:
    arrays = {f"{part}{n}": np.zeros((4, 4)) for part in ("weights", "bias") for n in range(3)}
    np.savez(tmp_path / "other.npz", **arrays)  # type: ignore[arg-type] # numpy's stub: names of its own
    with pytest.raises(ValueError, match="another network"):
        Network(tmp_path / "other.npz")
