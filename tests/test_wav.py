"""WAV files of every kind a caller may bring, and those that can't be played."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ops.wav import BadWav, read, write


def tone(seconds: float, rate: int) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)


def save(path: Path, raw: bytes, width: int, channels: int, rate: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(raw)
    return path


def encoded(sound: NDArray[np.float64], width: int) -> bytes:
    if width == 1:
        return bytes(np.rint(sound * 127 + 128).astype(np.uint8))
    if width == 3:
        whole = np.int32(np.rint(sound * (2**23 - 1)))
        return bytes(whole.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
    return bytes((sound * (2 ** (8 * width - 1) - 1)).astype(f"<i{width}").tobytes())


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize(("channels", "rate"), [(1, 16_000), (2, 44_100), (1, 8_000)])
def test_any_pcm_becomes_mono_16_khz(tmp_path: Path, width: int, channels: int, rate: int) -> None:
    sound = np.repeat(tone(0.5, rate) * 0.5, channels)
    samples = read(save(tmp_path / "a.wav", encoded(sound, width), width, channels, rate))
    assert samples.dtype == np.int16
    assert abs(len(samples) - 8000) <= 2
    middle = samples[1000:-1000].astype(float)
    assert abs(np.sqrt((middle**2).mean()) / 32767 - 0.5 / np.sqrt(2)) < 0.01
    peak = np.fft.rfftfreq(len(middle), 1 / 16_000)[np.argmax(np.abs(np.fft.rfft(middle)))]
    assert abs(peak - 440) < 3


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    samples = np.arange(-32768, 32768).astype(np.int16)
    write(tmp_path / "a.wav", samples, 16_000)
    assert (read(tmp_path / "a.wav") == samples).all()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("text.wav", b"this is no sound at all", "not a PCM WAV"),
        ("empty.wav", b"", "not a PCM WAV"),
        ("cut.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "not a PCM WAV"),
    ],
)
def test_what_is_no_wav_gets_one_clear_line(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadWav, match=says) as caught:
        read(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wav_without_a_sample_and_a_missing_one(tmp_path: Path) -> None:
    with pytest.raises(BadWav, match="holds no sound"):
        read(save(tmp_path / "none.wav", b"", 2, 1, 16_000))
    with pytest.raises(BadWav, match="no such file"):
        read(tmp_path / "missing.wav")
    with pytest.raises(BadWav, match="can't be read"):
        read(tmp_path)
