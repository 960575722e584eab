"""Links, doors and logs: what is bad is counted and told, and nothing that is bad stays in the way."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from pathlib import Path

import pytest
import structlog
import zmq

from bus.ask import ask
from bus.endpoints import Endpoints, claim
from bus.errors import AddressTaken
from bus.link import Link
from bus.logs import Seldom
from bus.runtime import Emit
from bus.sockets import Reader, make
from bus.stamps import Stamper
from bus.wire import pack
from schemas import BusGap, Drain, Event, Final, Partial, Refused, Respond, Sentence, Stamp
from tests.rig import Rig, rig, until

CALL = "C1"


def final(call: str = CALL) -> Final:
    return Final(call=call, utterance=0, text="", start=0, end=0)


class Fragile:
    """An actor that breaks on a question, and notes what no message can carry."""

    name = "llm"
    hears: tuple[type[Event], ...] = (Respond,)

    async def load(self) -> None: ...

    async def close(self) -> None: ...

    async def answer(self, request: Event) -> Event | None:
        raise KeyError("broken")

    async def react(self, event: Event, emit: Emit) -> None:
        emit(Sentence(call=event.call, turn=event.turn, index=0, text=""))
        emit.note(odd=1 << 80)
        await asyncio.get_running_loop().create_future()


async def asked(agent: Rig, request: Event) -> Event:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, ask, agent.where, "llm", request, 5.0, agent.context)


async def test_an_actor_that_breaks_on_a_question_says_so() -> None:
    async with asyncio.timeout(40), rig() as agent, agent.running(Fragile()):
        refused = await asked(agent, final())
        assert isinstance(refused, Refused)
        assert (refused.status, refused.why) == (500, "llm failed on it: KeyError('broken')")


async def test_an_ack_that_cannot_be_encoded_does_not_end_the_control_lane() -> None:
    room = rig(Sentence, roster=("llm",))
    async with asyncio.timeout(40), room as agent, agent.running(Fragile()):
        agent.publish(Respond(call=CALL, turn=1, messages=()))
        await agent.heard(Sentence)
        assert (await agent.cancel(CALL, 1)).rows[0].verdict == "stuck"
        assert (await agent.cancel(CALL, 2)).rows[0].verdict == "released"
        assert not isinstance(await asked(agent, Drain()), Refused)


async def test_a_link_for_one_call_hears_no_other_that_begins_alike() -> None:
    heard: list[Event] = []
    async with asyncio.timeout(40), rig() as agent:
        line = Link(agent.context, agent.where, Stamper("line", 1), agent.clock)
        await line.listen((Final, Partial), lambda event, _: heard.append(event), CALL)
        agent.publish(final("C10"), final(CALL))
        await until(lambda: bool(heard))
        assert heard == [final(CALL)]
        line.close()


async def test_a_gap_is_counted_and_told() -> None:
    async with asyncio.timeout(40), rig(BusGap) as agent:
        ear = Link(agent.context, agent.where, Stamper("ear", 1), agent.clock)
        await ear.listen((Final,), lambda *_: None)
        agent.publish(final())
        agent.link.stamper(b"stt.final\0C1", 0)
        agent.publish(final())
        gap = await agent.heard(BusGap)
        assert (gap.actor, gap.missed, gap.topic) == ("ear", 1, "stt.final C1")
        assert (gap.expected, gap.got) == (1, 2)
        assert ear.counts["missed"] == 1
        ear.close()


async def test_a_reader_goes_on_behind_a_message_that_broke_its_taker() -> None:
    taken: list[bytes] = []
    problems: list[object] = []

    def take(frames: list[bytes]) -> None:
        if frames[0] == b"bad":
            raise ValueError("bad")
        taken.append(frames[0])

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, problem: problems.append(problem["exception"]))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    pull, push = make(context, zmq.PULL), make(context, zmq.PUSH)
    pull.bind("inproc://reader")
    push.connect("inproc://reader")
    for word in (b"one", b"bad", b"two", b"bad", b"three"):
        push.send(word)
    async with asyncio.timeout(40):
        reader = Reader(pull, take)
        await until(lambda: len(taken) == 3)
    reader.close()
    push.close()
    pull.close()
    context.term()
    assert taken == [b"one", b"two", b"three"]
    assert len(problems) == 2


def test_a_flood_of_warnings_is_one_line_a_second() -> None:
    with structlog.testing.capture_logs() as lines:
        seldom = Seldom("frame refused")
        for _ in range(1000):
            seldom.warn(why="malformed")
        seldom._next_s = 0.0  # a second later
        seldom.warn(why="malformed")
    assert Counter(line["event"] for line in lines) == {"frame refused": 2}
    assert [line["times"] for line in lines] == [1, 1000]


def test_stamps_count_from_nought_per_topic() -> None:
    stamper = Stamper("stt", 7)
    assert pack(final(), stamper(b"t", 1))[0] == b"stt.final\0C1"
    assert stamper(b"t", 2) == Stamp(source="stt", inc=7, seq=1, at_ns=2)


def test_an_address_is_claimed_though_the_disk_is_full(tmp_path: Path) -> None:
    """The pid in the lock is for people; an actor that is restarted just then must start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        lock = claim(Endpoints(tmp_path), "door.stt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert lock is not None
    with pytest.raises(AddressTaken):
        claim(Endpoints(tmp_path), "door.stt")
    lock.close()
