"""WAV files: any PCM file goes in, mono int16 samples at the wanted rate come out, and back."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from bus.errors import BargeinError

Samples = NDArray[np.int16]
WIDTHS = {1: "8-bit", 2: "16-bit", 3: "24-bit", 4: "32-bit"}


class BadWav(BargeinError):
    """The file can't be played to the fleet; the message says why and what would do."""

    exit_code = 65


def read(path: Path, rate: int = 16_000) -> Samples:
    """Mono int16 at `rate` Hz from an 8- to 32-bit PCM WAV with any rate and channels. Raises BadWav."""
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate_in, frames = file.getparams()[:4]
            raw = file.readframes(frames)
    except FileNotFoundError:
        raise BadWav(f"{path}: no such file") from None
    except (wave.Error, EOFError) as error:
        raise BadWav(
            f"{path}: not a PCM WAV file ({error}); convert it to 16-bit PCM WAV"
        ) from None
    except OSError as error:
        raise BadWav(f"{path}: can't be read ({error.strerror})") from None
    whole = len(raw) // (width * channels) * channels
    if whole == 0:
        raise BadWav(f"{path}: holds no sound; record at least one sample")
    sound = _float(raw[: whole * width], width).reshape(-1, channels).mean(axis=1)
    if rate_in != rate:
        sound = soxr.resample(sound, rate_in, rate, quality="HQ")
    return np.asarray(np.clip(np.rint(sound * 32768), -32768, 32767), np.int16)


def _float(raw: bytes, width: int) -> NDArray[np.float64]:
    """-1 to 1 from little-endian PCM of 1 (unsigned) to 4 bytes."""
    if width == 1:
        return (np.frombuffer(raw, np.uint8).astype(np.float64) - 128) / 128
    if width == 3:
        padded = np.zeros((len(raw) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return padded.view("<i4").ravel().astype(np.float64) / 2**31
    kind, full = ("<i2", 2**15) if width == 2 else ("<i4", 2**31)
    return np.frombuffer(raw, kind).astype(np.float64) / full


def write(path: Path, samples: Samples, rate: int) -> None:
    """A mono 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
