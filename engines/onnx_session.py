"""A model file goes in, an onnxruntime session comes out: on one thread that never spins."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engines.protocols import EngineError


def in_wheel(package: str, inside: str, how: str) -> Path:
    """Where an installed wheel keeps a file. Looks without importing it: it may import torch.

    Raises EngineError when the wheel is not installed or holds no such file; `how` says what to do.
    """
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / inside
        if path.is_file():
            return path
    raise EngineError(f"{Path(inside).name} not found: {how}")


def open_model(path: Path, kind: str) -> Any:
    """Raises EngineError when onnxruntime or the file is missing. `kind`: of the model, for messages."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError("onnxruntime is missing: pip install 'bargein[vad-onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if not path.is_file():
        raise EngineError(f"no {kind} at {path}: name an existing .onnx file")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
