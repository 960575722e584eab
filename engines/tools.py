"""A tool's name comes in, what the model is told of it and what it does come out.

`time`, `hang_up` and `transfer` come along. A package adds its own as an entry point of `bargein.tools`
(see outside.py): `make(settings)` returns a `Tool`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bus.settings import Settings
from engines.outside import outside
from schemas import Event, HangUpAsked, TransferAsked

Arguments = Mapping[str, Any]


def _nothing() -> dict[str, Any]:
    return {"type": "object", "properties": {}}


@dataclass(frozen=True)
class Tool:
    """`description` and `parameters` (JSON schema) tell the model when and how to use it.

    `run(arguments)` returns what the model is told; it may raise, and is cancelled with its turn, so
    work that blocks belongs into `asyncio.to_thread`. `event(call, turn, arguments)` is published when
    it begins. `harmless`: it changes nothing, so it may run before it is sure that the caller is done.
    """

    name: str
    description: str
    run: Callable[[Arguments], Awaitable[str]]
    parameters: Mapping[str, Any] = field(default_factory=_nothing)
    event: Callable[[str, int, Arguments], Event] | None = None
    harmless: bool = False

    @property
    def function(self) -> dict[str, Any]:
        """As /v1/chat/completions wants it."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
        }


async def _time(_: Arguments) -> str:
    return datetime.now().astimezone().strftime("It is %A, %d %B %Y, %H:%M (%Z).")


async def _hang_up(_: Arguments) -> str:
    return "The call ends when you have said goodbye. Say it now, in a few words."


async def _transfer(arguments: Arguments) -> str:
    return f"The call is being put through to {arguments['to']}. Tell the caller so."


def _asked_to_hang_up(call: str, turn: int, arguments: Arguments) -> Event:
    return HangUpAsked(call=call, turn=turn, reason=str(arguments.get("reason", "")))


def _asked_to_transfer(call: str, turn: int, arguments: Arguments) -> Event:
    return TransferAsked(call=call, turn=turn, to=str(arguments["to"]))


def _strings(required: tuple[str, ...] = (), **what: str) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": text} for name, text in what.items()}
    return {"type": "object", "properties": properties, "required": list(required)}


OURS = {
    tool.name: tool
    for tool in (
        Tool("time", "Tells the date and the time of day.", _time, harmless=True),
        Tool(
            "hang_up",
            "Ends the call. Use it only when the caller has said goodbye or asks for it.",
            _hang_up,
            _strings(reason="why, in a few words"),
            _asked_to_hang_up,
        ),
        Tool(
            "transfer",
            "Puts the caller through to a person or a department.",
            _transfer,
            _strings(("to",), to="who, or which number"),
            _asked_to_transfer,
        ),
    )
}


def chosen(settings: Settings) -> dict[str, Tool]:
    """Those that `llm.tools` names, by name. Raises EngineError for one that can't be made."""
    made = (OURS.get(name) or _other(name, settings) for name in settings.llm.tools)
    return {tool.name: tool for tool in made}


def _other(name: str, settings: Settings) -> Tool:
    tool: Tool = outside("tools", name, settings)
    return tool
