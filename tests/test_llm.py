"""llm on in-proc sockets: sentences as they are whole, an apology instead of silence, no second answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack

from actors.breaker import BreakerActor
from actors.llm import CUT_OFF, Excuses, LlmActor
from bus.clock import ReplayClock
from bus.runtime import Runtime
from engines.protocols import EngineError
from schemas import (
    BreakerChanged,
    CallOpened,
    EngineFailed,
    EngineWorked,
    Event,
    GoOn,
    LlmFinished,
    LlmStarted,
    Message,
    Respond,
    Sentence,
    ToolCall,
)
from tests.rig import door_is_free, rig, until

CALL = "C1"
QUICK = Excuses("Let me try again.", "Sorry.", after_ms=0)
HEARS: tuple[type[Event], ...] = (Sentence, LlmStarted, LlmFinished, EngineFailed, EngineWorked)


Delta = str | ToolCall | Exception | None


class Script:
    """A chat that says what it was given, word by word; None: it waits there to be cancelled."""

    def __init__(self, *deltas: Delta, refusals: int = 0) -> None:
        self._deltas, self._refusals = deltas, refusals
        self.forgotten: list[str] = []
        self.asked: list[list[tuple[str, str]]] = []
        self.closed = asyncio.Event()

    def say(self, *deltas: Delta) -> None:
        """From now on."""
        self._deltas = deltas

    async def load(self) -> None:
        if self._refusals:
            self._refusals -= 1
            raise EngineError("the model is loading; wait")

    async def close(self) -> None: ...

    def forget(self, call: str) -> None:
        self.forgotten.append(call)

    async def stream(
        self, messages: Sequence[Message], call: str = ""
    ) -> AsyncGenerator[str | ToolCall, None]:
        self.asked.append([(message.role, message.content) for message in messages])
        try:
            for delta in self._deltas:
                if delta is None:
                    await asyncio.get_running_loop().create_future()
                elif isinstance(delta, Exception):
                    raise delta
                else:
                    yield delta
        finally:
            await asyncio.sleep(0)  # closing takes its time, and is waited for
            self.closed.set()


def order(turn: int = 1, say: str = "") -> Respond:
    return Respond(call=CALL, turn=turn, messages=(Message("user", "how late is it"),), say=say)


def spoken(agent_past: list[Sentence]) -> list[str]:
    return [sentence.text for sentence in agent_past]


async def test_each_sentence_goes_out_when_it_is_whole() -> None:
    chat = Script("It is ", "ten. ", "Past ", "two.")
    room = rig(*HEARS)
    async with asyncio.timeout(40), room as agent, agent.running(LlmActor(chat)):
        agent.publish(order())
        finished = await agent.heard(LlmFinished)
        assert spoken(agent.past(Sentence)) == ["It is ten.", "Past two."]
        assert [sentence.index for sentence in agent.past(Sentence)] == [0, 1]
        assert (finished.sentences, finished.tokens, finished.error) == (2, 4, "")
        assert agent.past(LlmStarted)[0].turn == 1
        assert (await agent.heard(EngineWorked)).service == "llm"
        assert chat.asked == [[("user", "how late is it")]]


async def test_words_of_our_own_are_spoken_without_asking_the_model() -> None:
    chat = Script("never")
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(LlmActor(chat)):
        agent.publish(order(say="Good morning. How can I help?"))
        await agent.heard(LlmFinished)
        assert spoken(agent.past(Sentence)) == ["Good morning.", "How can I help?"]
        assert chat.asked == []


async def test_a_model_that_fails_is_excused_tried_once_more_and_apologised_for() -> None:
    chat = Script(EngineError("connection refused"))
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(LlmActor(chat, QUICK)):
        agent.publish(order())
        assert (await agent.heard(LlmFinished)).error == "connection refused"
        assert spoken(agent.past(Sentence)) == ["Let me try again.", "Sorry."]
        failed = await agent.heard(EngineFailed, 2)
        assert (failed.service, failed.error) == ("llm", "connection refused")
        assert len(chat.asked) == 2
        assert agent.past(EngineWorked) == []


async def test_an_answer_that_breaks_off_goes_on_at_the_next_endpoint() -> None:
    """Whole sentences are kept, the unfinished one is his to say, and nothing is said twice."""
    first = Script("One. ", "Two. ", "Three and", EngineError("broke off"))
    second = Script("One. Two. ", "Three and four.")
    chats = {"a": first, "b": second}
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(LlmActor(chats, QUICK)):
        agent.publish(
            Respond(call=CALL, turn=1, messages=(Message("system", "Be brief."), *order().messages))
        )
        finished = await agent.heard(LlmFinished)
        assert spoken(agent.past(Sentence)) == ["One.", "Two.", "Three and four."]
        assert [sentence.index for sentence in agent.past(Sentence)] == [0, 1, 2]
        assert (finished.sentences, finished.error) == (3, "")
        assert second.asked[0] == [
            ("system", f"Be brief. {CUT_OFF}"),
            ("user", "how late is it"),
            ("assistant", "One. Two."),
        ]
        assert (await agent.heard(EngineFailed)).endpoint == "a"
        assert (await agent.heard(EngineWorked)).endpoint == "b"


async def test_an_endpoint_whose_circuit_is_open_is_not_asked_until_a_probe_has_worked() -> None:
    """The probe is no caller's answer, and takes its lease from the real breaker."""
    first, second = Script(EngineError("down")), Script("Ten.")
    room = rig(*HEARS, BreakerChanged)
    async with asyncio.timeout(40), room as agent, AsyncExitStack() as stack:
        clock = ReplayClock(1_000_000_000)
        breaker = BreakerActor(threshold=2, reset_s=1.0)
        await stack.enter_async_context(agent.running(breaker, clock=clock))
        doors = (agent.context, agent.where)
        llm = LlmActor({"a": first, "b": second}, QUICK, doors)
        await stack.enter_async_context(agent.running(llm))
        for turn in (1, 2):
            agent.publish(order(turn))
            await agent.heard(LlmFinished, turn=turn)
        await agent.heard(BreakerChanged, state="open", endpoint="a")
        agent.publish(order(3))
        await agent.heard(LlmFinished, turn=3)
        assert (len(first.asked), len(second.asked)) == (2, 3)
        assert llm.gauges() == {"endpoints_away": 1.0}
        clock.set(clock.now() + 1_000_000_000)
        await agent.heard(BreakerChanged, was="half_open", state="open")  # the probe has failed
        assert len(first.asked) == 3
        first.say("Half past ten.")
        clock.set(clock.now() + 1_000_000_000)
        await agent.heard(BreakerChanged, was="half_open", state="closed")
        assert breaker.gauges() == {"open_circuits": 0.0, "probe_leases": 0.0}
        await until(lambda: llm.gauges() == {"endpoints_away": 0.0})
        agent.publish(order(4))
        assert (await agent.heard(Sentence, turn=4)).text == "Half past ten."


async def test_how_circuits_stand_is_learnt_by_a_restarted_llm_and_from_a_restarted_breaker() -> (
    None
):
    first, second = Script("Never."), Script("Ten.")
    async with asyncio.timeout(40), rig(*HEARS, BreakerChanged) as agent, AsyncExitStack() as stack:
        breaker = await stack.enter_async_context(AsyncExitStack())
        await breaker.enter_async_context(agent.running(BreakerActor(threshold=1)))
        agent.publish(EngineFailed(service="llm", endpoint="a", error="down"))
        await agent.heard(BreakerChanged, endpoint="a", state="open")
        llm = LlmActor({"a": first, "b": second}, QUICK, (agent.context, agent.where))
        await stack.enter_async_context(agent.running(llm))
        await until(lambda: llm.gauges() == {"endpoints_away": 1.0})
        agent.publish(order(1))
        assert (await agent.heard(Sentence, turn=1)).text == "Ten."
        await breaker.aclose()
        await door_is_free(agent, "breaker")
        await stack.enter_async_context(agent.running(BreakerActor(threshold=1)))
        await until(lambda: llm.gauges() == {"endpoints_away": 0.0})
        agent.publish(order(2))
        assert (await agent.heard(Sentence, turn=2)).text == "Never."


async def test_when_no_endpoint_may_be_asked_the_caller_hears_so_at_once() -> None:
    chat = Script("Never.")
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(LlmActor(chat, QUICK)):
        agent.publish(
            BreakerChanged(service="llm", state="open", was="closed", failures=3, reason="")
        )
        agent.publish(order())
        assert "circuits are open" in (await agent.heard(LlmFinished)).error
        assert spoken(agent.past(Sentence)) == ["Sorry."]
        assert chat.asked == []


async def test_a_restarted_llm_goes_on_with_an_answer_and_repeats_nothing() -> None:
    """The excuse of its predecessor is counted, and is no part of the answer."""
    chat = Script("One. Two. Three.")
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(LlmActor(chat, QUICK)):
        said = ("One.", "Let me try again.", "Two.")
        agent.publish(GoOn(call=CALL, turn=1, messages=order().messages, said=said))
        agent.publish(GoOn(call=CALL, turn=1, messages=order().messages, said=said))
        agent.publish(
            GoOn(call=CALL, turn=2, messages=(), said=("Good day.",), say="Good day. How?")
        )
        await agent.heard(LlmFinished, turn=1)
        assert (await agent.heard(LlmFinished, turn=2)).sentences == 2
        assert sorted((s.turn, s.index, s.text) for s in agent.past(Sentence)) == [
            (1, 3, "Three."),
            (2, 1, "How?"),
        ]
        assert chat.asked == [[("user", "how late is it"), ("assistant", "One. Two.")]]


async def test_restarted_in_mid_call_it_does_not_wait_for_a_server_that_is_away() -> None:
    chat = Script(EngineError("down"), refusals=10**9)
    async with asyncio.timeout(40), rig(*HEARS) as agent:
        agent.calls = (CallOpened(call=CALL, line="test"),)
        async with agent.running(LlmActor(chat, QUICK)):
            agent.publish(order())
            await agent.heard(LlmFinished)
            assert spoken(agent.past(Sentence))[-1] == "Sorry."


async def test_cancel_closes_the_stream_waits_for_it_and_says_what_was_spent() -> None:
    chat = Script("One. ", "Two. ", None)
    room = rig(*HEARS, roster=("llm",))
    async with asyncio.timeout(40), room as agent, agent.running(LlmActor(chat)):
        agent.publish(order())
        await agent.heard(Sentence)
        table = await agent.cancel(CALL, 1)
        assert chat.closed.is_set()
        assert table.rows[0].verdict == "released"
        assert table.rows[0].stopped == {"tokens_generated": 2}
        agent.publish(order(turn=1), order(turn=2, say="Next."))
        assert (await agent.heard(Sentence, turn=2)).text == "Next."
        assert len(chat.asked) == 1
        assert agent.past(LlmFinished) == [] or agent.past(LlmFinished)[0].turn == 2


async def test_the_same_turn_asked_for_twice_gets_one_answer() -> None:
    chat = Script("One.")
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(LlmActor(chat)):
        agent.publish(order())
        await agent.heard(LlmFinished)
        agent.publish(order(), order(turn=2))
        await agent.heard(LlmFinished, turn=2)
        assert [sentence.turn for sentence in agent.past(Sentence)] == [1, 2]


async def test_a_model_that_loads_for_long_is_waited_for() -> None:
    chat = Script("One.", refusals=2)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(LlmActor(chat)) as runtime:
        assert runtime.desk.ready


async def test_while_it_waits_its_health_says_for_what() -> None:
    chat = Script("One.", refusals=10**9)
    async with asyncio.timeout(40), rig(*HEARS) as agent:
        runtime = Runtime(LlmActor(chat), agent.context, agent.where)
        starting = asyncio.create_task(runtime.__aenter__())
        await until(lambda: "the model is loading; wait" in runtime.desk.detail)
        assert not runtime.desk.ready
        starting.cancel()
        await asyncio.wait({starting})


async def test_a_notice_between_marks_is_flagged_and_the_marks_are_not_spoken() -> None:
    """However the model's tokens cut the marks, and over several sentences."""
    text = "Sure. <notice>This call is recorded. Really.</notice> Anything else?"
    chat = Script(*(text[at : at + 3] for at in range(0, len(text), 3)))
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(LlmActor(chat)):
        agent.publish(order())
        finished = await agent.heard(LlmFinished)
        said = [(one.index, one.text, one.notice) for one in agent.past(Sentence)]
        assert said == [
            (0, "Sure.", False),
            (1, "This call is recorded.", True),
            (2, "Really.", True),
            (3, "Anything else?", False),
        ]
        assert finished.sentences == 4
