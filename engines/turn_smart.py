"""Whether a caller who pauses is done, by the sound of his last 8 s: smart-turn v3.2 on onnxruntime.

The model (Pipecat, BSD 2-Clause License) is that of Whisper tiny's encoder with a head, 8 bits a weight. It
lies in the wheel of pipecat-ai, which `make engine-smart-turn` installs without its dependencies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engines.onnx_session import in_wheel, open_model
from engines.protocols import EngineError
from engines.turn_encoder import log_mel, mel_bands

RATE = 16_000
SECONDS = 8
MODEL = "audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx"
MOST_NATS = 10.0


class SmartTurn:
    """`listen(pcm)`: mono int16 at 16 kHz, silence in front of what is shorter than 8 s."""

    def __init__(self, model: Path | None = None) -> None:
        """`model`: the .onnx file; None takes the one inside the installed wheel."""
        self._path = model
        self._model: Any = None
        self._bands = mel_bands()

    def load(self) -> None:
        """Read the model and ask it once. Raises EngineError when onnxruntime or the file is missing."""
        how = "make engine-smart-turn"
        self._model = open_model(self._path or in_wheel("pipecat", MODEL, how), "smart-turn model")
        self(bytes(2 * RATE))

    def __call__(self, pcm: bytes) -> float:
        """Natural log-odds that he is done, within 10. Raises EngineError before `load`."""
        if self._model is None:
            raise EngineError("smart-turn has no model yet: call load() before asking it")
        sound = np.zeros(SECONDS * RATE, np.float32)
        given = np.frombuffer(pcm, np.int16)[-len(sound) :]
        sound[len(sound) - len(given) :] = given.astype(np.float32) / 32768
        seen = log_mel(sound, self._bands).T[None]
        [[[chance]]] = self._model.run(None, {"input_features": np.ascontiguousarray(seen)})
        return float(np.clip(np.log(chance / max(1 - chance, 1e-9) + 1e-9), -MOST_NATS, MOST_NATS))
