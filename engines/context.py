"""A conversation too long for the model comes in, one without its oldest turns comes out. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from msgspec.structs import replace

from schemas import Message

NOTE = "The beginning of this conversation had to be left out."
"""Added to the system prompt, so that the model does not deny what it no longer knows."""
_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|exceed_context|maximum context|too many tokens|prompt is too long",
    re.IGNORECASE,
)


def is_too_long(refusal: str) -> bool:
    """Does a server's refusal mean that the conversation does not fit its context?"""
    return _TOO_LONG.search(refusal) is not None


def share_that_fits(refusal: str) -> float:
    """What part of the prompt fits, if the refusal tells (llama-server does); else a half."""
    try:
        error = json.loads(refusal)["error"]
        share = float(error["n_ctx"]) / float(error["n_prompt_tokens"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        return 0.5
    return min(max(share, 0.1), 0.9)


def shortened(messages: Sequence[Message], share: float) -> list[Message] | None:
    """About `share` of its text, never less than the last question; None: there is nothing to leave out.

    Whole turns go, from the oldest on, so that no answer stands without its question and no result
    of a tool without its call. The system prompt stays, with NOTE.
    """
    system = [message for message in messages[:1] if message.role == "system"]
    turns = _turns(messages[len(system) :])
    if len(turns) < 2:
        return None
    most = share * _length(messages) - _length(system)
    kept = turns[1:]
    while len(kept) > 1 and sum(map(_length, kept)) > most:
        kept = kept[1:]
    return [*_noted(system), *(message for turn in kept for message in turn)]


def _turns(messages: Sequence[Message]) -> list[list[Message]]:
    """Cut before each question."""
    turns: list[list[Message]] = []
    for message in messages:
        if message.role == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


def _length(messages: Sequence[Message]) -> int:
    return sum(
        len(message.content) + sum(len(call.arguments) for call in message.calls)
        for message in messages
    )


def _noted(system: Sequence[Message]) -> list[Message]:
    if not system:
        return [Message("system", NOTE)]
    content = system[0].content
    return [replace(system[0], content=content if NOTE in content else f"{content} {NOTE}".strip())]
