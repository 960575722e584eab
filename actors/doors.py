"""What actors ask others: sound of the journal from audio_in, leave to try an engine from the breaker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import structlog

from actors.ladder import State
from bus.asking import Asker
from bus.errors import NoAnswer
from schemas import (
    AskBreakers,
    AskKept,
    AskProbe,
    AskReplay,
    Breakers,
    Event,
    Kept,
    KeptList,
    ProbeAnswer,
    ProbeDone,
    Refused,
    Replayed,
    Transcribed,
)

log = structlog.get_logger()
ASK_S = 1.0
PIECE = 80_000
"""Samples asked for at a time: 5 s."""


class Sounds(Protocol):
    """Where caller sound is kept."""

    async def piece(
        self, call: str, channel: int, first: int, most: int = PIECE
    ) -> Replayed | None:
        """Sound from `first` on; None when nothing is known of the channel. Raises NoAnswer."""
        ...

    async def kept(self) -> tuple[Kept, ...]:
        """Whose sound waits for its words. Raises NoAnswer."""
        ...

    async def transcribed(self, event: Transcribed) -> None:
        """Say what may be forgotten. Raises NoAnswer."""
        ...


class Journal:
    """audio_in's journal, through its door."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def piece(
        self, call: str, channel: int, first: int, most: int = PIECE
    ) -> Replayed | None:
        request = AskReplay(call=call, channel=channel, first=first, most=most)
        answer = await self._ask(request)
        return answer if isinstance(answer, Replayed) else None

    async def kept(self) -> tuple[Kept, ...]:
        answer = await self._ask(AskKept())
        return answer.kept if isinstance(answer, KeptList) else ()

    async def transcribed(self, event: Transcribed) -> None:
        await self._ask(event)

    async def _ask(self, request: Event) -> Event:
        """A failure there (500) may pass, as a silence may; 404 is an answer."""
        answer = await self._asker.ask(request, ASK_S)
        if isinstance(answer, Refused) and answer.status != 404:
            raise NoAnswer(answer.why)
        return answer


@dataclass(frozen=True)
class Grant:
    """Whether an engine may be tried; `lease` is to be given back, if it is not empty.

    `answered`: false where nobody said so: the breaker is away, and may be asked again soon.
    """

    granted: bool
    lease: str = ""
    answered: bool = True


class Leave(Protocol):
    """Who says whether an engine may be tried."""

    async def ask(self, service: str, endpoint: str, call: str) -> Grant: ...

    async def give_back(
        self, grant: Grant, outcome: Literal["worked", "failed", "unused"], error: str = ""
    ) -> None: ...


class Breaker:
    """The breaker's door. Where nobody answers there is no leave: it is asked again."""

    def __init__(self, asker: Asker, owner: str, inc: int) -> None:
        self._asker, self._owner, self._inc = asker, owner, inc

    async def ask(self, service: str, endpoint: str, call: str) -> Grant:
        request = AskProbe(
            call=call, service=service, endpoint=endpoint, owner=self._owner, inc=self._inc
        )
        try:
            answer = await self._asker.ask(request, ASK_S)
        except NoAnswer:
            return Grant(False, answered=False)
        if isinstance(answer, ProbeAnswer):
            return Grant(answer.granted, answer.lease)
        return Grant(False)

    async def give_back(
        self, grant: Grant, outcome: Literal["worked", "failed", "unused"], error: str = ""
    ) -> None:
        if not grant.lease:
            return
        try:
            await self._asker.ask(ProbeDone(lease=grant.lease, outcome=outcome, error=error), ASK_S)
        except NoAnswer as problem:
            log.warning("a lease could not be given back; it runs out", why=str(problem))

    async def states(self, service: str) -> dict[str, State]:
        """How the circuits of a service stand, by endpoint. Raises NoAnswer."""
        answer = await self._asker.ask(AskBreakers(), ASK_S)
        circuits = answer.circuits if isinstance(answer, Breakers) else ()
        return {c.endpoint: c.state for c in circuits if c.service == service}


class Anyone:
    """Leave for everybody: where there is no breaker."""

    async def ask(self, service: str, endpoint: str, call: str) -> Grant:
        return Grant(True)

    async def give_back(
        self, grant: Grant, outcome: Literal["worked", "failed", "unused"], error: str = ""
    ) -> None:
        """Nothing was lent."""
