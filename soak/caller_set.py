"""In comes the folder `soak/callers`; out go its clips, each a short WAV of one caller sound."""

from __future__ import annotations

import wave
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).parent / "callers"
RATE = 16_000

WINDOW = RATE // 200
"""Audibility is judged over 5 ms."""

AUDIBLE_DBFS = -46.0
"""26 dB below the level of the speech clips: fricatives count, the vocoder's hiss does not."""


@dataclass(frozen=True)
class Clip:
    """One caller sound: what was said, by whom, and between which samples it can be heard.

    `text` of a noise names the noise. `pocketsphinx` is what its default model understood, given
    the whole clip at once; `pocketsphinx_live` the same in packets of 20 ms. For information only.
    """

    file: str
    kind: str
    voice: str
    text: str
    onset_sample: int
    end_sample: int
    sha256: str
    pocketsphinx: str = ""
    pocketsphinx_live: str = ""
    folder: Path = field(default=FOLDER, compare=False)

    @property
    def path(self) -> Path:
        """Where the WAV lies."""
        return self.folder / self.file

    @property
    def seconds(self) -> float:
        """How long the audible part lasts."""
        return (self.end_sample - self.onset_sample) / RATE

    def pcm(self) -> bytes:
        """The samples: mono signed 16-bit little-endian at 16 kHz."""
        with wave.open(str(self.path), "rb") as sound:
            return sound.readframes(sound.getnframes())


def load(folder: Path = FOLDER) -> list[Clip]:
    """All clips, in the manifest's order."""
    rows = msgspec.json.decode(
        (folder / "manifest.json").read_bytes(), type=list[dict[str, str | int]]
    )
    return [msgspec.convert({**row, "folder": folder}, Clip) for row in rows]


def find(kind: str, voice: str | None = None, text: str | None = None) -> list[Clip]:
    """The clips of a kind; of one voice and with these very words, if given."""
    return [
        clip
        for clip in load()
        if clip.kind == kind and voice in (None, clip.voice) and text in (None, clip.text)
    ]


def audible(pcm: npt.NDArray[np.int16]) -> tuple[int, int]:
    """The first audible sample and the one after the last: where 5 ms exceed AUDIBLE_DBFS."""
    squares = np.concatenate([[0.0], np.cumsum((pcm / 32768.0) ** 2)])
    power = (squares[WINDOW:] - squares[:-WINDOW]) / WINDOW
    loud = np.flatnonzero(power > 10 ** (AUDIBLE_DBFS / 10))
    if not len(loud):
        return 0, 0
    return int(loud[0]) + WINDOW - 1, int(loud[-1]) + 1
