"""llm on in-proc sockets: sentences as they are whole, an apology instead of silence, no second answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from actors.llm import APOLOGY, LlmActor
from engines.protocols import EngineError
from schemas import EngineFailed, EngineWorked, LlmFinished, LlmStarted, Message, Respond, Sentence
from tests.rig import rig

CALL = "C1"
HEARS = (Sentence, LlmStarted, LlmFinished, EngineFailed, EngineWorked)


class Script:
    """A chat that says what it was given, word by word; None: it waits there to be cancelled."""

    def __init__(self, *deltas: str | Exception | None, refusals: int = 0) -> None:
        self._deltas, self._refusals = deltas, refusals
        self.asked: list[list[tuple[str, str]]] = []
        self.closed = asyncio.Event()

    async def load(self) -> None:
        if self._refusals:
            self._refusals -= 1
            raise EngineError("the model is loading; wait")

    async def close(self) -> None: ...

    async def stream(self, messages: Sequence[tuple[str, str]]) -> AsyncGenerator[str, None]:
        self.asked.append(list(messages))
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
    async with asyncio.timeout(5), room as agent, agent.running(LlmActor(chat)):
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
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(LlmActor(chat)):
        agent.publish(order(say="Good morning. How can I help?"))
        await agent.heard(LlmFinished)
        assert spoken(agent.past(Sentence)) == ["Good morning.", "How can I help?"]
        assert chat.asked == []


async def test_a_model_that_fails_leaves_an_apology_and_is_reported() -> None:
    chat = Script(EngineError("connection refused"))
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(LlmActor(chat)):
        agent.publish(order())
        assert (await agent.heard(LlmFinished)).error == "connection refused"
        assert spoken(agent.past(Sentence)) == [APOLOGY]
        failed = await agent.heard(EngineFailed)
        assert (failed.service, failed.error) == ("llm", "connection refused")
        assert agent.past(EngineWorked) == []


async def test_an_answer_that_breaks_off_is_spoken_as_far_as_it_came() -> None:
    chat = Script("One. ", "Two and", EngineError("broke off"))
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(LlmActor(chat)):
        agent.publish(order())
        assert (await agent.heard(LlmFinished)).error == "broke off"
        assert spoken(agent.past(Sentence)) == ["One.", "Two and"]


async def test_cancel_closes_the_stream_waits_for_it_and_says_what_was_spent() -> None:
    chat = Script("One. ", "Two. ", None)
    room = rig(*HEARS, roster=("llm",))
    async with asyncio.timeout(5), room as agent, agent.running(LlmActor(chat)):
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
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(LlmActor(chat)):
        agent.publish(order())
        await agent.heard(LlmFinished)
        agent.publish(order(), order(turn=2))
        await agent.heard(LlmFinished, turn=2)
        assert [sentence.turn for sentence in agent.past(Sentence)] == [1, 2]


async def test_a_model_that_loads_for_long_is_waited_for() -> None:
    chat = Script("One.", refusals=2)
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(LlmActor(chat)) as runtime:
        assert runtime.desk.ready


async def test_a_notice_between_marks_is_flagged_and_the_marks_are_not_spoken() -> None:
    """However the model's tokens cut the marks, and over several sentences."""
    text = "Sure. <notice>This call is recorded. Really.</notice> Anything else?"
    chat = Script(*(text[at : at + 3] for at in range(0, len(text), 3)))
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(LlmActor(chat)):
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
