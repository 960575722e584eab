"""smart-turn without its model: what is missing, and what to do; with it: tests/engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.onnx_session import in_wheel
from engines.protocols import EngineError
from engines.turn_smart import SmartTurn


def test_a_wheel_that_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(EngineError, match=r"^model\.onnx not found: make engine-smart-turn$"):
        in_wheel("no_such_wheel", "data/model.onnx", "make engine-smart-turn")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no smart-turn model at .*none\.onnx"):
        SmartTurn(tmp_path / "none.onnx").load()


def test_it_is_loaded_before_it_is_asked() -> None:
    with pytest.raises(EngineError, match=r"call load\(\)"):
        SmartTurn()(bytes(2))
