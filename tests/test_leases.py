"""Probe leases (O2): exactly one in the fleet, given back when its owner dies or its call ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.breaker import BreakerActor
from actors.doors import Breaker
from actors.leases import LONGEST_NS, Lease, Leases
from bus.asking import Asker
from bus.clock import ReplayClock
from schemas import (
    ActorKilled,
    AskBreakers,
    AskProbe,
    BreakerChanged,
    Breakers,
    CallClosed,
    CallOpened,
    Done,
    EngineFailed,
    Event,
    Heartbeat,
    ProbeAnswer,
    ProbeDone,
    Refused,
    ResetBreaker,
    TripBreaker,
)
from tests.rig import Rig, rig

S = 1_000_000_000
owners = st.sampled_from(["stt", "llm"])
keys = st.sampled_from([("stt", "a"), ("stt", "b"), ("llm", "")])
calls = st.sampled_from(["", "C1", "C2"])


class LeaseMachine(RuleBasedStateMachine):
    """Owners ask, die and come back, calls end; a model that looks at every lease there ever was."""

    @initialize()
    def begin(self) -> None:
        self.leases = Leases()
        self.out: dict[tuple[str, str], Lease] = {}
        self.now = 1

    @rule(key=keys, owner=owners, inc=st.integers(1, 2), call=calls)
    def ask(self, key: tuple[str, str], owner: str, inc: int, call: str) -> None:
        lease = self.leases.lend(key, owner, inc, call, self.now)
        assert (lease is None) is (key in self.out)
        if lease is not None:
            assert lease.id not in [other.id for other in self.out.values()]
            self.out[key] = lease

    @rule(key=keys)
    def give_back(self, key: tuple[str, str]) -> None:
        """A second time it is nobody's."""
        if key in self.out:
            lease = self.out.pop(key)
            assert self.leases.take_back(lease.id) == lease
            assert self.leases.take_back(lease.id) is None

    @rule(owner=owners, inc=st.sampled_from([None, 1, 2]))
    def dies(self, owner: str, inc: int | None) -> None:
        self.check(
            self.leases.owner_gone(owner, inc),
            [lease for lease in self.out.values() if lease.owner == owner and lease.inc != inc],
        )

    @rule(call=calls)
    def hangs_up(self, call: str) -> None:
        self.check(
            self.leases.call_over(call),
            [lease for lease in self.out.values() if call and lease.call == call],
        )

    @rule(passing=st.sampled_from([S, LONGEST_NS]))
    def time(self, passing: int) -> None:
        self.now += passing
        self.check(
            self.leases.overdue(self.now),
            [lease for lease in self.out.values() if self.now - lease.since_ns >= LONGEST_NS],
        )

    def check(self, gone: list[Lease], wanted: list[Lease]) -> None:
        assert gone == wanted
        for lease in gone:
            del self.out[lease.key]

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "leases"):
            assert len(self.leases) == len(self.out)
            assert all(self.leases.holder(key) == lease for key, lease in self.out.items())


LeaseMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
TestLeases = LeaseMachine.TestCase


class Door:
    """The breaker's, with its clock."""

    def __init__(self, agent: Rig, asker: Asker, actor: BreakerActor, clock: ReplayClock) -> None:
        self.agent, self._asker, self.actor, self.clock = agent, asker, actor, clock

    async def ask(self, request: Event) -> Event:
        return await self._asker.ask(request)

    async def probe(self, call: str = "C1", owner: str = "stt", inc: int = 1) -> ProbeAnswer:
        answer = await self.ask(
            AskProbe(call=call, service="stt", endpoint="e", owner=owner, inc=inc)
        )
        assert isinstance(answer, ProbeAnswer)
        return answer

    async def half_open(self) -> None:
        self.agent.publish(EngineFailed(service="stt", endpoint="e", error="down"))
        await self.agent.heard(BreakerChanged)
        self.clock.set(self.clock.now() + S)
        await self.agent.heard(BreakerChanged, state="half_open")


@asynccontextmanager
async def door() -> AsyncIterator[Door]:
    clock, actor = ReplayClock(S), BreakerActor(threshold=1, reset_s=1.0)
    async with asyncio.timeout(40), rig(BreakerChanged) as agent:
        agent.calls = tuple(CallOpened(call=call, line="t") for call in ("C1", "C2"))
        async with agent.running(actor, clock=clock):
            asker = Asker(agent.context, agent.where, "breaker")
            try:
                yield Door(agent, asker, actor, clock)
            finally:
                asker.close()


def beat(actor: str, inc: int) -> Heartbeat:
    return Heartbeat(
        actor=actor,
        inc=inc,
        pid=1,
        state="ready",
        detail="",
        uptime_ms=1.0,
        rss_bytes=1,
        lag_ms=0.0,
        received=0,
        sent=0,
        stale=0,
        malformed=0,
        missed=0,
        calls=0,
    )


async def test_o2_exactly_one_probe_in_the_whole_fleet() -> None:
    async with door() as it:
        assert (await it.probe()).granted  # closed: everybody may
        await it.half_open()
        answers = [
            await it.probe(owner=owner, inc=inc)
            for owner, inc in (("stt", 1), ("stt", 2), ("x", 1))
        ]
        assert [answer.granted for answer in answers] == [True, False, False]
        assert answers[1].why == "another probe is under way"
        assert it.actor.gauges()["probe_leases"] == 1.0
        assert isinstance(await it.ask(ProbeDone(lease=answers[0].lease, outcome="worked")), Done)
        assert (await it.agent.heard(BreakerChanged, state="closed")).endpoint == "e"
        assert it.actor.gauges() == {"open_circuits": 0.0, "probe_leases": 0.0}


async def test_o2_a_failed_probe_opens_the_circuit_again() -> None:
    async with door() as it:
        await it.half_open()
        lease = (await it.probe()).lease
        await it.ask(ProbeDone(lease=lease, outcome="failed", error="still down"))
        opened = await it.agent.heard(BreakerChanged, 2, state="open")
        assert (opened.was, opened.reason) == ("half_open", "still down")
        refused = await it.probe()
        assert (refused.granted, refused.state, refused.retry_ms) == (False, "open", 1000.0)
        assert isinstance(await it.ask(ProbeDone(lease=lease, outcome="worked")), Refused)


async def test_o2_a_call_that_has_ended_never_takes_the_probe() -> None:
    async with door() as it:
        await it.half_open()
        assert (await it.probe(call="C9")).why == "the call is over"
        assert (await it.probe(call="C1")).granted
        it.agent.publish(CallClosed(call="C1", reason="hangup"))
        back = await it.agent.heard(BreakerChanged, was="half_open", state="half_open")
        assert back.reason == "probe given back: its call is over"
        assert not (await it.probe(call="C1")).granted
        assert (await it.probe(call="C2")).granted


async def test_o2_a_probe_whose_owner_dies_is_given_back() -> None:
    async with door() as it:
        await it.half_open()
        assert (await it.probe(inc=1)).granted
        it.agent.publish(beat("stt", 2))  # supervisord has started it again
        await it.agent.heard(BreakerChanged, was="half_open", state="half_open")
        assert (await it.probe(inc=2)).granted
        it.agent.publish(ActorKilled(actor="stt", pid=1, why="wedged"))
        await it.agent.heard(BreakerChanged, 2, was="half_open", state="half_open")
        assert (await it.probe(inc=3)).granted


async def test_an_actor_that_falls_silent_has_failed_and_holds_nothing() -> None:
    async with door() as it:
        await it.half_open()
        it.agent.publish(beat("stt", 1))
        await it.ask(AskBreakers())
        assert (await it.probe()).granted
        it.clock.set(it.clock.now() + 2 * S)
        it.agent.publish(beat("llm", 1))
        silent = await it.agent.heard(BreakerChanged, service="actor:stt")
        assert (silent.state, silent.reason) == ("open", "no heartbeat for 2 s")
        assert (await it.probe()).granted


async def test_an_operator_trips_looks_and_resets() -> None:
    async with door() as it:
        assert isinstance(await it.ask(ResetBreaker(service="llm")), Refused)
        await it.ask(TripBreaker(service="llm", endpoint="http://one/v1"))
        assert (await it.agent.heard(BreakerChanged)).reason == "tripped by an operator"
        report = await it.ask(AskBreakers())
        assert isinstance(report, Breakers)
        [circuit] = report.circuits
        assert (circuit.service, circuit.endpoint, circuit.state) == (
            "llm",
            "http://one/v1",
            "open",
        )
        assert circuit.half_opens_ns == it.clock.now() + S
        await it.ask(ResetBreaker(service="llm", endpoint="http://one/v1"))
        assert (await it.agent.heard(BreakerChanged, 2)).state == "closed"
        it.clock.set(it.clock.now() + 5 * S)  # the timer of the trip is gone with it
        await it.ask(AskBreakers())
        assert len(it.agent.past(BreakerChanged)) == 2


async def test_no_answer_is_no_refusal() -> None:
    """stt asks a breaker that is away again soon; one that said no tells when things have changed."""
    async with door() as it:
        asker = Asker(it.agent.context, it.agent.where, "breaker")
        leave = Breaker(asker, "stt", 1)
        refused = await leave.ask("stt", "", "a call that is over")
        assert (refused.granted, refused.answered) == (False, True)
        asker.close()
        away = await leave.ask("stt", "", "")
        assert (away.granted, away.answered) == (False, False)
