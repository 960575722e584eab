"""breaker on in-proc sockets: failures in a row open a circuit, time half-opens it, all of it told."""

from __future__ import annotations

import asyncio

from actors.breaker import BreakerActor
from bus.clock import ReplayClock
from schemas import ActorKilled, BreakerChanged, CancelStuck, EngineFailed, EngineWorked
from tests.rig import rig

S = 1_000_000_000
DOWN = EngineFailed(service="llm", error="connection refused")


async def test_a_circuit_opens_half_opens_by_time_and_closes_again() -> None:
    clock = ReplayClock(S)
    breaker = BreakerActor(threshold=2, reset_s=1.0)
    async with (
        asyncio.timeout(40),
        rig(BreakerChanged) as agent,
        agent.running(breaker, clock=clock),
    ):
        agent.publish(DOWN, DOWN)
        opened = await agent.heard(BreakerChanged)
        assert (opened.was, opened.state, opened.failures) == ("closed", "open", 2)
        assert (opened.service, opened.reason) == ("llm", "connection refused")
        assert breaker.gauges() == {"open_circuits": 1.0, "probe_leases": 0.0}
        clock.set(2 * S)
        assert (await agent.heard(BreakerChanged, 2)).state == "half_open"
        agent.publish(EngineWorked(service="llm"))
        closed = await agent.heard(BreakerChanged, 3)
        assert (closed.was, closed.state, closed.failures) == ("half_open", "closed", 0)
        assert breaker.gauges() == {"open_circuits": 0.0, "probe_leases": 0.0}


async def test_a_failed_probe_opens_it_again() -> None:
    clock = ReplayClock(S)
    async with (
        asyncio.timeout(40),
        rig(BreakerChanged) as agent,
        agent.running(BreakerActor(threshold=1, reset_s=1.0), clock=clock),
    ):
        agent.publish(DOWN)
        await agent.heard(BreakerChanged)
        clock.set(2 * S)
        await agent.heard(BreakerChanged, 2)
        agent.publish(DOWN)
        assert (await agent.heard(BreakerChanged, 3)).state == "open"
        clock.set(3 * S)
        assert (await agent.heard(BreakerChanged, 4)).state == "half_open"


async def test_services_have_circuits_of_their_own_and_actors_are_services() -> None:
    async with (
        asyncio.timeout(40),
        rig(BreakerChanged) as agent,
        agent.running(BreakerActor(threshold=2)),
    ):
        agent.publish(
            DOWN,
            CancelStuck(call="C1", turn=1, actor="tts", phase="fenced", waited_ms=250),
            EngineFailed(service="tts", error="no voice"),
            ActorKilled(actor="tts", pid=1, why="wedged"),
        )
        opened = await agent.heard(BreakerChanged)
        assert opened.service == "actor:tts"
        assert len(agent.past(BreakerChanged)) == 1


async def test_a_success_in_between_starts_the_count_anew() -> None:
    async with (
        asyncio.timeout(40),
        rig(BreakerChanged) as agent,
        agent.running(BreakerActor(threshold=2)),
    ):
        agent.publish(DOWN, EngineWorked(service="llm"), DOWN, DOWN)
        assert (await agent.heard(BreakerChanged)).failures == 2
        assert len(agent.past(BreakerChanged)) == 1


async def test_endpoints_of_a_service_have_circuits_of_their_own() -> None:
    breaker = BreakerActor(threshold=2)
    async with asyncio.timeout(40), rig(BreakerChanged) as agent, agent.running(breaker):
        for endpoint in ("one", "two", "two"):
            agent.publish(EngineFailed(service="llm", endpoint=endpoint, error="timeout"))
        assert (await agent.heard(BreakerChanged)).endpoint == "two"
        states = {circuit.endpoint: circuit.state for circuit in breaker.snapshot()}
        assert states == {"one": "closed", "two": "open"}
