"""A wish of the model comes in, the tool is used at most once, and what came of it goes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Literal

import structlog

from actors.agent_side import UNFINISHED
from bus.runtime import Emit
from engines.tools import Tool
from schemas import ToolCall, ToolEnded, ToolStarted

log = structlog.get_logger()


class Toolbox:
    """Tools by name. `timeout_s`: how long one may take."""

    def __init__(self, tools: Mapping[str, Tool] | None = None, timeout_s: float = 5.0) -> None:
        self._tools, self._timeout_s = dict(tools or {}), timeout_s

    def harmless(self, wanted: ToolCall) -> bool:
        """It may be used before it is sure that the caller is done."""
        tool = self._tools.get(wanted.name)
        return tool is None or tool.harmless

    async def use(self, wanted: ToolCall, turn: int, emit: Emit) -> str | None:
        """What became of it, for the model; None: the turn is cancelled, nothing was begun.

        `tool_started` leaves only before the turn's fence goes up: what has not begun by then never does.
        """
        about: dict[str, Any] = {"call": emit.call, "turn": turn, "id": wanted.id}
        if not emit(ToolStarted(**about, name=wanted.name, arguments=wanted.arguments)):
            return None
        began_ns = emit.clock.now()
        outcome: Literal["done", "failed", "interrupted"] = "interrupted"
        result = UNFINISHED
        try:
            result = await self._run(wanted, turn, emit)
            outcome = "done"
        except TimeoutError:
            outcome, result = (
                "failed",
                f"It took longer than {self._timeout_s:g} s and was stopped.",
            )
        except Exception as error:  # a stranger's code; the model is told, the log has it whole
            log.exception("tool failed", call_id=emit.call, turn_id=turn, tool=wanted.name)
            outcome, result = "failed", f"It failed: {error}"
        finally:
            took_ms = (emit.clock.now() - began_ns) / 1e6
            emit(
                ToolEnded(
                    **about, name=wanted.name, outcome=outcome, result=result, took_ms=took_ms
                )
            )
        return result

    async def _run(self, wanted: ToolCall, turn: int, emit: Emit) -> str:
        tool = self._tools.get(wanted.name)
        if tool is None:
            raise LookupError(
                f"there is no tool {wanted.name!r}; there are {', '.join(self._tools)}"
            )
        arguments = _arguments(wanted.arguments)
        if tool.event is not None:
            emit(tool.event(emit.call, turn, arguments))
        async with asyncio.timeout(self._timeout_s):
            return str(await tool.run(arguments))


def _arguments(text: str) -> dict[str, Any]:
    """Raises ValueError when the model wrote no JSON object."""
    made = json.loads(text or "{}")
    if not isinstance(made, dict):
        raise ValueError("the arguments must be a JSON object")
    return made
