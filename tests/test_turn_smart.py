"""smart-turn without its model: what is missing, and what to do; with it: tests/engines."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq

from actors.build import ACTORS
from bus.endpoints import Endpoints
from bus.sections import Turns
from bus.settings import Settings
from engines import onnx_session
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


async def test_audio_in_is_not_ready_without_it_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(onnx_session, "find_spec", lambda name: None)
    settings = Settings(home=tmp_path, turns=Turns(endpointing="smart-turn"))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    actor = ACTORS["audio_in"](settings, context, Endpoints("inproc://smart"))
    with pytest.raises(EngineError, match="make engine-smart-turn"):
        await actor.load()
    await actor.close()
    context.term()
