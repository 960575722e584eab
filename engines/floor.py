"""Whether a short utterance wants the floor: its sound goes in, log-odds come out. Pure; numpy alone.

Convolutional networks of three kinds, small enough to run beside everything else: some look at a log-mel
spectrogram, some at Google's speech embedding, which has heard people; and where these are not sure, some
at what half of Whisper hears (for two fifths of what is asked). They were
trained on synthetic speech by `soak/floor/train.py`: backchannels ("mm-hm", "yeah", "of course") against
everything else one says in a second, in rooms, on telephones, amid noise. They know no words, so they need
no recogniser; docs/decisions/0008, 0009 and 0010.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from engines.speech_embedding import SpeechEmbedding
from engines.steady_noise import without_steady_noise
from engines.turn_encoder import SIZE as EARS
from engines.turn_encoder import TurnEncoder

RATE = 16_000
HOP, WINDOW, FFT = 160, 400, 512
BANDS, FRAMES = 32, 200
LOW_HZ, HIGH_HZ = 200.0, 3600.0
"""What a telephone leaves of a voice: so it makes little difference."""
QUIET, LOUD = -9.0, 4.0
SURE = 5.0
"""Nats: where the quick networks are so sure, the slow ones are not asked."""
Array = npt.NDArray[np.float32]
ZERO, SCALE = np.float32(0), np.float32(0.25)
Kind = Literal["spectrogram", "embedding", "ears"]
KINDS: tuple[Kind, ...] = ("spectrogram", "embedding", "ears")
SHIPPED = Path(__file__).with_name("models") / "floor.npz"


def mel_bands() -> Array:
    """[FFT // 2 + 1, BANDS]: triangles at equal distances in mel, 2595 log10(1 + f / 700)."""
    hz = np.fft.rfftfreq(FFT, 1 / RATE)
    low, high = (2595 * np.log10(1 + edge / 700) for edge in (LOW_HZ, HIGH_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    up, down = (hz - left) / (middle - left), (right - hz) / (right - middle)
    return np.asarray(np.clip(np.minimum(up, down), 0, None).T, np.float32)


_BANDS = mel_bands()
_TAPER = np.hanning(WINDOW).astype(np.float32)


def spectrogram(sound: npt.NDArray[np.floating]) -> Array:
    """[FRAMES, BANDS] of samples within ±1 at 16 kHz: the first two seconds, whatever their level.

    Natural logarithms of power, from 9 below to 4 above the level of the loudest tenth of the frames.
    """
    padded = np.pad(sound[: FRAMES * HOP], (0, max(0, WINDOW - len(sound)))).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * _TAPER, FFT)) ** 2
    log = np.log(power.astype(np.float32) @ _BANDS + 1e-7)
    level = np.percentile(log.mean(axis=1), 90)
    made = np.full((FRAMES, BANDS), QUIET, np.float32)
    made[: len(log)] = np.clip(log - level, QUIET, LOUD)
    return made


class Floor:
    """Networks that were trained apart; the mean of what they say is surer than each.

    `floor(pcm)` of 16-bit samples at 16 kHz, up to two seconds. Raises OSError or ValueError when its
    file can't be read: arrays named `NETWORK.conv0`, `NETWORK.bias0`, …, `NETWORK.hidden`, `NETWORK.out`.
    Networks of the embedding and of Whisper's ears have `NETWORK.mean` and `NETWORK.scale` besides.
    `gains`: what the mean of the odds of each kind is multiplied with before they are added.
    """

    def __init__(self, path: Path = SHIPPED) -> None:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name].astype(np.float32) for name in file.files}
        self._gains = arrays.pop("gains", np.ones(len(KINDS), np.float32))
        names = sorted({name.partition(".")[0] for name in arrays})
        networks = [
            Network(
                {key[len(name) + 1 :]: a for key, a in arrays.items() if key.startswith(f"{name}.")}
            )
            for name in names
        ]
        self._kinds = [[n for n in networks if n.kind == kind] for kind in KINDS]
        self._embedding = SpeechEmbedding() if self._kinds[1] else None
        self._encoder = TurnEncoder() if self._kinds[2] else None
        if not networks:
            raise ValueError(f"{path} holds no network")

    def __call__(self, pcm: bytes) -> float:
        """Natural log-odds: above 0 it wants the floor, below it only shows that it listens."""
        sound = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
        odds = self._odds(0, spectrogram(sound))
        if self._embedding is not None:
            odds += self._odds(1, self._embedding(without_steady_noise(sound)))
        if self._encoder is not None and abs(odds) < SURE:
            odds += self._odds(2, self._encoder(sound))
        return odds

    def _odds(self, kind: int, features: Array) -> float:
        """Of all networks of a kind."""
        networks = self._kinds[kind]
        said = sum(network.odds(features) for network in networks)
        return float(self._gains[kind]) * said / max(1, len(networks))


class Network:
    """Convolutions over time; the mean and the maximum of what is left; two layers.

    Of a spectrogram, time is halved between convolutions.
    """

    def __init__(self, arrays: dict[str, Array]) -> None:
        depth = sum(name.startswith("conv") for name in arrays)
        self._layers = [(arrays[f"conv{n}"], arrays[f"bias{n}"]) for n in range(depth)]
        self._hidden = arrays["hidden"], arrays["hidden_bias"]
        self._out = arrays["out"], arrays["out_bias"]
        self._mean, self._scale = arrays.get("mean", ZERO), arrays.get("scale", SCALE)
        self.kind: Kind = "spectrogram"
        if "mean" in arrays:
            self.kind = "ears" if self._mean.size == EARS else "embedding"

    def odds(self, features: Array) -> float:
        """Log-odds of a spectrogram, of an embedding, or of what Whisper hears: [time, bands]."""
        x = (features - self._mean) * self._scale
        for number, (weights, bias) in enumerate(self._layers, 1):
            x = np.maximum(_convolved(x, weights) + bias, 0)
            if number < len(self._layers) and self.kind == "spectrogram":
                half = len(x) // 2
                x = np.maximum(x[: 2 * half : 2], x[1 : 2 * half : 2])
        pooled = np.concatenate([x.mean(axis=0), x.max(axis=0)])
        hidden = np.maximum(self._hidden[0] @ pooled + self._hidden[1], 0)
        return float(self._out[0] @ hidden + self._out[1])


def _convolved(x: Array, weights: Array) -> Array:
    """[time, in] with [width, in, out]; as long as before."""
    width = len(weights)
    padded = np.pad(x, ((width // 2, width // 2), (0, 0)))
    side_by_side = np.concatenate([padded[at : at + len(x)] for at in range(width)], axis=1)
    return np.asarray(side_by_side @ weights.reshape(-1, weights.shape[2]), np.float32)
