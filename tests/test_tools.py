"""Tools: used once, never behind a fence, remembered whatever becomes of the turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from actors.agent_side import INTERRUPTED, UNFINISHED
from actors.duplex import FullDuplex
from actors.evidence import Judge, Limits
from actors.llm import TOOL_ROUNDS, Excuses, LlmActor
from actors.toolbox import Toolbox
from actors.turn_rules import Conversation
from actors.turn_state import HangUp, Rules, Say
from bus.runtime import Runtime
from bus.sections import Llm
from bus.settings import Settings, home
from engines.protocols import EngineError, TryLater
from engines.tools import OURS, Arguments, Tool, chosen
from schemas import (
    ActorBack,
    CallClosed,
    CancelCall,
    Event,
    HangUpAsked,
    LlmFinished,
    Message,
    PlaybackFinished,
    PlaybackStarted,
    Respond,
    Sentence,
    SpokenWords,
    ToolCall,
    ToolEnded,
    ToolStarted,
    TransferAsked,
    TurnStarted,
    Word,
)
from schemas.line import LinePlayed
from tests.rig import Rig, rig, until
from tests.test_llm import Delta, Script

CALL = "C"
HEARS = (Sentence, LlmFinished, ToolStarted, ToolEnded, HangUpAsked, TransferAsked)
TIME, DOOR = ToolCall("c1", "time", "{}"), ToolCall("c2", "door", '{"which": "left"}')


class Answers(Script):
    """Each request gets the next list of deltas."""

    def __init__(self, *rounds: tuple[Delta, ...]) -> None:
        super().__init__()
        self._rounds = list(rounds)
        self.shown: list[list[Message]] = []

    async def stream(self, messages: Any, call: str = "") -> Any:
        self.shown.append(list(messages))
        self.say(*(self._rounds.pop(0) if len(self._rounds) > 1 else self._rounds[0]))
        async for delta in super().stream(messages, call):
            yield delta


class Door:
    """A tool that changes something, and waits until it is let go on."""

    def __init__(self, error: Exception | None = None) -> None:
        self.opened: list[Arguments] = []
        self.go_on, self._error = asyncio.Event(), error

    async def __call__(self, arguments: Arguments) -> str:
        self.opened.append(arguments)
        await self.go_on.wait()
        if self._error:
            raise self._error
        return "It is open."


@asynccontextmanager
async def talking(chat: Script, door: Door, timeout_s: float = 5.0) -> AsyncIterator[Rig]:
    tools = {**OURS, "door": Tool("door", "Opens a door.", door)}
    actor = LlmActor(
        chat, Excuses("Once more.", "Sorry.", after_ms=0), tools=Toolbox(tools, timeout_s)
    )
    async with asyncio.timeout(40), rig(*HEARS, roster=("llm",)) as agent, agent.running(actor):
        yield agent


def order(turn: int = 1, draft: bool = False) -> Respond:
    return Respond(call=CALL, turn=turn, messages=(Message("user", "open it"),), draft=draft)


def sure(turn: int = 1) -> TurnStarted:
    return TurnStarted(call=CALL, turn=turn, text="open it", start=0, end=1)


async def test_the_model_is_told_what_came_of_it_and_writes_on() -> None:
    chat, door = Answers(("Let me see. ", TIME, DOOR), ("It is ", "done.")), Door()
    door.go_on.set()
    async with talking(chat, door) as agent:
        agent.publish(order())
        finished = await agent.heard(LlmFinished)
        assert [one.text for one in agent.past(Sentence)] == ["Let me see.", "It is done."]
        assert (finished.sentences, finished.error) == (2, "")
        clock = agent.past(ToolEnded)[0]
        assert (clock.outcome, clock.name) == ("done", "time")
        assert door.opened == [{"which": "left"}]
    assert chat.shown[1] == [
        Message("user", "open it"),
        Message("assistant", "Let me see.", (TIME, DOOR)),
        Message("tool", clock.result, answers="c1"),
        Message("tool", "It is open.", answers="c2"),
    ]


async def test_what_fails_is_told_to_the_model_and_not_to_the_caller() -> None:
    """A tool that raises, one that hangs, one that does not exist, arguments that are no JSON object."""
    wrong = ToolCall("c3", "door", "[1]"), ToolCall("c4", "window", "{}")
    chat, door = Answers((DOOR, *wrong), ("I can't.",)), Door(error=OSError("it sticks"))
    door.go_on.set()
    async with talking(chat, door) as agent:
        agent.publish(order())
        assert (await agent.heard(LlmFinished)).error == ""
        ended = agent.past(ToolEnded)
        assert [one.outcome for one in ended] == ["failed"] * 3
        assert "it sticks" in ended[0].result
        assert "JSON object" in ended[1].result
        assert "no tool 'window'" in ended[2].result
    slow = Door()
    async with talking(Answers((DOOR,), ("I can't.",)), slow, timeout_s=0.01) as agent:
        agent.publish(order())
        await agent.heard(LlmFinished)
        assert "longer than 0.01 s" in agent.past(ToolEnded)[0].result


async def test_a_cancelled_turn_never_uses_a_tool_that_had_not_begun() -> None:
    """The first is interrupted, and says so; the second never begins."""
    second = ToolCall("c9", "hang_up", "{}")
    chat, door = Answers((DOOR, second), ("Done.",)), Door()
    async with talking(chat, door) as agent:
        agent.publish(order())
        await agent.heard(ToolStarted)
        await until(lambda: bool(door.opened))
        table = await agent.cancel(CALL, 1)
        assert table.rows[0].verdict == "released"
        ended = await agent.heard(ToolEnded)
        assert (ended.id, ended.outcome) == ("c2", "interrupted")
        agent.publish(order(2))
        door.go_on.set()
        await agent.heard(LlmFinished, turn=2)
        assert [one.id for one in agent.past(ToolStarted) if one.turn == 1] == ["c2"]
        assert agent.past(HangUpAsked) == []


async def test_between_the_fence_and_the_end_of_the_work_no_tool_begins_either() -> None:
    """The fence goes up on a thread of its own; what llm does next must already know."""

    class Fenced(Answers):
        runtime: Runtime

        async def stream(self, messages: Any, call: str = "") -> Any:
            async for item in super().stream(messages, call):
                self.runtime.desk.raise_fence(CALL, 1)
                yield item

    chat, door = Fenced((DOOR,)), Door()
    door.go_on.set()
    actor = LlmActor(chat, tools=Toolbox({"door": Tool("door", "Opens a door.", door)}))
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor) as chat.runtime:
        agent.publish(order(1))
        await until(chat.closed.is_set)
        agent.publish(Respond(call=CALL, turn=2, messages=(), say="Next."))
        await agent.heard(LlmFinished, turn=2)
        assert door.opened == []
        assert (agent.past(ToolStarted), agent.past(ToolEnded)) == ([], [])


async def test_a_draft_uses_only_what_changes_nothing_until_it_is_the_turn() -> None:
    chat, door = Answers((TIME,), (DOOR,), ("Open.",)), Door()
    door.go_on.set()
    async with talking(chat, door) as agent:
        agent.publish(order(draft=True))
        await agent.heard(ToolEnded)
        await until(lambda: len(chat.shown) == 2 and chat.closed.is_set())
        agent.publish(sure())
        await agent.heard(LlmFinished)
        assert [one.name for one in agent.past(ToolStarted)] == ["time", "door"]
        assert [one.text for one in agent.past(Sentence)] == ["Open."]


async def test_a_draft_that_is_cancelled_has_done_nothing() -> None:
    chat, door = Answers((DOOR,), ("Open.",)), Door()
    async with talking(chat, door) as agent:
        agent.publish(order(draft=True))
        await until(chat.closed.is_set)
        await agent.cancel(CALL, 1)
        agent.publish(sure(1), order(2, draft=True))  # the first too late, behind its fence
        await until(lambda: len(chat.shown) == 2)
        agent.publish(sure(2))
        await agent.heard(LlmFinished, turn=2)
        assert door.opened == []
        assert agent.past(ToolStarted) == []


async def test_hanging_up_and_putting_through_are_events_and_a_mute_model_says_goodbye() -> None:
    to = ToolCall("c1", "transfer", '{"to": "sales"}')
    bye = ToolCall("c2", "hang_up", '{"reason": "done"}')
    async with talking(Answers((to,), (bye,), ()), Door()) as agent:
        agent.publish(order())
        await agent.heard(LlmFinished)
        assert agent.past(TransferAsked) == [TransferAsked(call=CALL, turn=1, to="sales")]
        assert agent.past(HangUpAsked) == [HangUpAsked(call=CALL, turn=1, reason="done")]
        assert [one.text for one in agent.past(Sentence)] == ["Goodbye."]


async def test_a_model_that_only_asks_for_tools_is_stopped() -> None:
    async with talking(Answers((TIME,)), Door()) as agent:
        agent.publish(order())
        assert f"more than {TOOL_ROUNDS} times" in (await agent.heard(LlmFinished)).error
        assert len(agent.past(ToolEnded)) == TOOL_ROUNDS


async def test_an_endpoint_that_takes_over_does_not_use_a_tool_again() -> None:
    first, second = Answers((DOOR,), ("It ", EngineError("broke"))), Answers(("It is open.",))
    door = Door()
    door.go_on.set()
    tools = {"door": Tool("door", "Opens a door.", door)}
    actor = LlmActor({"a": first, "b": second}, tools=Toolbox(tools))
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor):
        agent.publish(order(), CallClosed(call="other", reason=""))
        await agent.heard(LlmFinished)
        await until(lambda: first.forgotten == second.forgotten == ["other"])
        assert len(door.opened) == 1
        assert [message.role for message in second.shown[0]] == ["user", "assistant", "tool"]


async def test_an_endpoint_that_names_a_time_is_asked_again_then() -> None:
    """A second is waited for; an hour is not."""
    for after_s, longest_ms in ((0.05, 5000.0), (3600.0, 50.0)):
        chat = Answers((TryLater("busy", after_s),), ("Now.",))
        excuses = Excuses("Once more.", "Sorry.", after_ms=0, longest_ms=longest_ms)
        async with (
            asyncio.timeout(40),
            rig(*HEARS) as agent,
            agent.running(LlmActor(chat, excuses)),
        ):
            began = asyncio.get_running_loop().time()
            agent.publish(order())
            await agent.heard(LlmFinished)
            assert asyncio.get_running_loop().time() - began >= 0.05
            assert [one.text for one in agent.past(Sentence)] == ["Once more.", "Now."]


def test_what_is_chosen_is_ours_or_an_entry_point() -> None:
    settings = Settings(home=home(), llm=Llm(tools=("time", "hang_up")))
    assert list(chosen(settings)) == ["time", "hang_up"]


# -- what the conversation keeps of it --------------------------------------------------------------


class Talk:
    """A conversation in which a turn is being answered."""

    def __init__(self) -> None:
        self.rules = Conversation(CALL, 0, FullDuplex(Judge(Limits())), Rules(system_prompt="S"))
        self.at_ns = 0
        self.rules.say("Hello.", 0)
        self.rules._agent.end(can_speak=False)
        self.rules._agent.begin("open it", 0, 1)
        self.turn = self.rules.turn

    def step(self, event: Event) -> list[Any]:
        self.at_ns += 1_000_000
        return self.rules.step(event, self.at_ns)

    def use(self, wanted: ToolCall, result: str | None) -> None:
        about: dict[str, Any] = {
            "call": CALL,
            "turn": self.turn,
            "id": wanted.id,
            "name": wanted.name,
        }
        self.step(ToolStarted(**about, arguments=wanted.arguments))
        if result is not None:
            self.step(ToolEnded(**about, outcome="done", result=result))

    def speak(self, text: str) -> None:
        words = (Word(text, 0, 16_000),)
        self.step(Sentence(call=CALL, turn=self.turn, index=0, text=text))
        self.step(
            SpokenWords(call=CALL, turn=self.turn, sentence=0, text=text, words=words, rate=16_000)
        )
        self.step(PlaybackStarted(call=CALL, turn=self.turn))

    def finish(self) -> list[Any]:
        self.step(PlaybackFinished(call=CALL, turn=self.turn, samples=16_000, rate=16_000))
        return self.step(
            LinePlayed(call=CALL, turn=self.turn, samples=16_000, rate=16_000, ended=True)
        )

    @property
    def kept(self) -> list[tuple[str, str]]:
        return [(message.role, message.content) for message in self.rules.messages[1:]]


def test_finished_results_are_kept_and_the_call_ends_when_the_goodbye_was_heard() -> None:
    talk = Talk()
    talk.use(DOOR, "It is open.")
    talk.step(HangUpAsked(call=CALL, turn=talk.turn))
    talk.speak("Bye.")
    assert HangUp("the agent hung up") in talk.finish()
    assert talk.kept == [
        ("user", "open it"),
        ("assistant", ""),
        ("tool", "It is open."),
        ("assistant", "Bye."),
    ]
    assert talk.rules.messages[2].calls == (DOOR,)


def test_an_interrupted_turn_keeps_its_results_and_hangs_up_nobody() -> None:
    talk = Talk()
    talk.use(TIME, "Ten.")
    talk.use(DOOR, None)
    talk.step(HangUpAsked(call=CALL, turn=talk.turn))
    talk.speak("Bye.")
    effects = talk.step(CancelCall(call=CALL))
    ended = LinePlayed(call=CALL, turn=talk.turn, samples=0, rate=16_000, ended=True)
    effects += talk.step(ended)
    assert not any(isinstance(effect, HangUp) for effect in effects)
    assert [content for role, content in talk.kept if role == "tool"] == ["Ten.", UNFINISHED]
    assert talk.kept[-1] == ("assistant", INTERRUPTED)
    late = ToolEnded(
        call=CALL, turn=talk.turn, id="c2", name="door", outcome="done", result="Open."
    )
    talk.step(late)
    assert [content for role, content in talk.kept if role == "tool"] == ["Ten.", "Open."]


def test_an_llm_that_was_killed_over_a_tool_leaves_it_interrupted_not_in_progress() -> None:
    """Its successor is shown what is known, and may not take it for undone."""
    talk = Talk()
    talk.use(TIME, "Ten.")
    talk.use(DOOR, None)
    effects = talk.step(ActorBack(call=CALL, actor="llm"))
    [again] = [effect.event for effect in effects if isinstance(effect, Say)]
    assert isinstance(again, Respond)
    assert [m.content for m in again.messages if m.role == "tool"] == ["Ten.", UNFINISHED]
