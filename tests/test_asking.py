"""Asking a door from a loop: answers find their questions, silence ends, a new owner is found."""

from __future__ import annotations

import asyncio

import pytest

from bus.asking import Asker
from bus.errors import NoAnswer
from schemas import AskHealth, AskStats, Event, Health, Heartbeat
from tests.rig import door_is_free, rig


class Idle:
    """An actor with nothing to do."""

    name = "breaker"
    hears: tuple[type[Event], ...] = ()

    async def load(self) -> None: ...

    async def react(self, event: Event, emit: object) -> None: ...

    async def close(self) -> None: ...


async def test_answers_find_their_questions_and_silence_ends() -> None:
    async with asyncio.timeout(40), rig() as agent:
        asker = Asker(agent.context, agent.where, "breaker")
        try:
            with pytest.raises(NoAnswer, match=r"within 0\.05 s"):
                await asker.ask(AskHealth(), 0.05)
            async with agent.running(Idle()):
                answers = await asyncio.gather(asker.ask(AskHealth()), asker.ask(AskStats()))
                assert [type(answer) for answer in answers] == [Health, Heartbeat]
                first = answers[0]
            with pytest.raises(NoAnswer):
                await asker.ask(AskHealth(), 0.05)
            await door_is_free(agent, "breaker")
            async with agent.running(Idle()):
                second = await asker.ask(AskHealth())
            assert isinstance(first, Health)
            assert isinstance(second, Health)
            assert first.inc != second.inc
        finally:
            asker.close()
            asker.close()
        with pytest.raises(NoAnswer, match="closed"):
            await asker.ask(AskHealth())
