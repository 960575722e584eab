"""In come calls recorded by hand; checked is the picture of them."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import pytest

from ops.timeline import draw, score_of
from tests.tape import ZERO_NS, calm_call, interrupted_call


def test_score_places_everything_on_the_axis_of_the_wavs() -> None:
    score = score_of(interrupted_call().finished(), ZERO_NS)
    assert [round(span.start_s, 1) for span in score.caller] == [0.5, 5.0]
    assert [round(span.end_s, 1) for span in score.agent] == [5.3, 9.6]
    assert score.agent[0].note == "✂ cut: 8 of 16 words"
    assert [round(at, 1) for at, _, _ in score.cancels] == [5.3]
    assert score.ducked[0].note == "-24 dB"


@pytest.mark.parametrize("call", ["interrupted", "calm", "empty"])
def test_timeline_is_a_png_of_1600_by_900(tmp_path: Path, call: str) -> None:
    records = {"interrupted": interrupted_call().finished(), "calm": calm_call(), "empty": []}[call]
    sides = [
        _wav(tmp_path / f"{side}.wav", 4_000 if records else 0) for side in ("caller", "agent")
    ]
    draw(tmp_path / "call.png", sides[0], sides[1], records, ZERO_NS)
    picture = (tmp_path / "call.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (1600, 900)
    assert len(picture) > 10_000


def _wav(path: Path, samples: int) -> Path:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(b"".join(struct.pack("<h", 9_000 * (-1) ** n) for n in range(samples)))
    return path
