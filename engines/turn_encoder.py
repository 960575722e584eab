"""The ears of Whisper, half of them: sound goes in, 384 numbers for each 40 ms come out. Pure; numpy alone.

The convolutions and the first two of four layers of the encoder of smart-turn v3.2 (Pipecat, BSD 2-Clause
License), which is that of Whisper tiny (A. Radford and others, "Robust Speech Recognition via Large-Scale
Weak Supervision", 2022, arXiv:2212.04356; MIT License), taught to hear when somebody is done. Its weights,
of 8 bits with a scale for each column, were taken from the wheel of pipecat-ai by
`soak/floor/take_encoder.py`. What comes out agrees with the original's second layer to a correlation of
0.986: the original rounds in between, this does not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

RATE = 16_000
HOP, WINDOW, BANDS = 160, 400, 80
FRAMES = 200
"""Of 10 ms: two seconds are looked at, with silence in front of what is shorter."""
SIZE, HEADS = 384, 6
STEPS = 50
"""Two places each."""
RANGE, LEAST = 8.0, 1e-10
"""Powers of ten below the loudest that are kept; the least power."""
Array = npt.NDArray[np.float32]
SHIPPED = Path(__file__).with_name("models") / "turn_encoder.npz"


class TurnEncoder:
    """`encoder(sound)`: samples within ±1 at 16 kHz, of any level, to [steps, 384]; the first two seconds.

    Raises OSError or ValueError when its file can't be read: `NAME` of 8 bits with `NAME.scale` for each
    matrix, 16 bits for the rest; see `soak/floor/take_encoder.py`.
    """

    def __init__(self, path: Path = SHIPPED) -> None:
        with np.load(path, allow_pickle=False) as file:
            given = {name: file[name] for name in file.files}
        self._arrays = {
            n: a if a.dtype == np.int8 else a.astype(np.float32) for n, a in given.items()
        }
        self._depth = sum(name.endswith(".query") for name in self._arrays)
        if not self._depth:
            raise ValueError(f"{path} holds no layer")
        self._mel = mel_bands()

    def __call__(self, sound: npt.NDArray[np.floating]) -> Array:
        """As many steps as the sound has 40 ms, begun ones counted; at least one, at most STEPS."""
        seen = log_mel(sound[: FRAMES * HOP].astype(np.float32), self._mel)[-FRAMES:]
        x = np.full((FRAMES, BANDS), seen.min(), np.float32)
        x[FRAMES - len(seen) :] = seen
        x = _gelu(self._times(_beside(x, 1), "conv1"))
        x = _gelu(self._times(_beside(x, 2), "conv2"))
        x = x + self._array("places")
        for number in range(self._depth):
            x = self._layer(x, f"layer{number}")
        steps = min(STEPS, -(-len(seen) // 4))
        pairs = x.reshape(STEPS, 2, SIZE).mean(axis=1)
        return np.asarray(pairs[STEPS - steps :], np.float32)

    def _layer(self, x: Array, name: str) -> Array:
        y = self._normal(x, f"{name}.before")
        query = _heads(self._times(y, f"{name}.query"))
        key, value = _heads(self._times(y, f"{name}.key")), _heads(self._times(y, f"{name}.value"))
        alike = query @ key.transpose(0, 2, 1) * np.float32((SIZE / HEADS) ** -0.5)
        alike = np.exp(alike - alike.max(axis=2, keepdims=True))
        seen = alike @ value / alike.sum(axis=2, keepdims=True)
        x = x + self._times(seen.transpose(1, 0, 2).reshape(len(x), SIZE), f"{name}.out")
        y = _gelu(self._times(self._normal(x, f"{name}.behind"), f"{name}.wide"))
        made: Array = x + self._times(y, f"{name}.narrow")
        return made

    def _times(self, x: Array, name: str) -> Array:
        """With a matrix of 8 bits, whose columns have a scale each; keys have no bias."""
        product: Array = x @ self._arrays[name].astype(np.float32) * self._arrays[f"{name}.scale"]
        return product if name.endswith(".key") else product + self._array(f"{name}.bias")

    def _array(self, name: str) -> Array:
        array: Array = self._arrays[name]
        return array

    def _normal(self, x: Array, name: str) -> Array:
        off = x - x.mean(axis=1, keepdims=True)
        size = np.sqrt((off**2).mean(axis=1, keepdims=True) + 1e-5)
        made: Array = off / size * self._array(f"{name}.gain") + self._array(f"{name}.bias")
        return made


def log_mel(sound: Array, bands: Array) -> Array:
    """[frames, 80]: log10 of power in `mel_bands()`, at most RANGE below the largest, / 4 + 1.

    As Whisper has it. Samples at 16 kHz, of any level; a frame each 10 ms.
    """
    sound = np.pad(sound, (0, max(0, WINDOW - len(sound))))
    sound = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
    padded = np.pad(sound, WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:-1] * _TAPER
    power = np.abs(np.fft.rfft(frames)) ** 2
    log = np.log10(np.maximum(power.astype(np.float32) @ bands, LEAST))
    return np.asarray(np.maximum(log, log.max() - RANGE) / 4 + 1, np.float32)


def mel_bands() -> Array:
    """[201, 80]: triangles of equal area up to 8 kHz, at equal distances in the mel of Slaney's toolbox.

    M. Slaney, "Auditory Toolbox", 1998: linear up to 1 kHz (200/3 Hz each), 27 to a factor of 6.4 above.
    """
    step, knee, growth = 200 / 3, 15.0, np.log(6.4) / 27
    edges = np.linspace(0, knee + np.log(8) / growth, BANDS + 2)
    edges = np.where(edges < knee, edges * step, 1000 * np.exp(growth * (edges - knee)))
    hz = np.linspace(0, RATE / 2, WINDOW // 2 + 1)[:, None]
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    sides = np.minimum((hz - left) / (middle - left), (right - hz) / (right - middle))
    return np.asarray(np.maximum(sides, 0) * 2 / (right - left), np.float32)


_TAPER = np.hanning(WINDOW + 1)[:-1].astype(np.float32)


def _gelu(x: Array) -> Array:
    """By D. Hendrycks and K. Gimpel, 2016, arXiv:1606.08415, with tanh for the error function."""
    return np.asarray(
        0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x * x * x))), np.float32
    )


def _beside(x: Array, stride: int) -> Array:
    """[time / stride, 3 * in]: of each place the one before it, itself, and the next."""
    padded = np.pad(x, ((1, 1), (0, 0)))
    return np.concatenate([padded[at : at + len(x) : stride] for at in range(3)], axis=1)


def _heads(x: Array) -> Array:
    """[HEADS, time, SIZE / HEADS]."""
    return x.reshape(len(x), HEADS, -1).transpose(1, 0, 2)
