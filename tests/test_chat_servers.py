"""Servers as they are met: slots, refusals, tools in pieces, Retry-After, what does not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engines.context import NOTE, is_too_long, share_that_fits, shortened
from engines.llama_slots import Slots
from engines.llm_openai import ChatSettings, OpenAiChat, Reading
from engines.protocols import EngineError, TryLater
from engines.tools import OURS
from schemas import Message, ToolCall
from tests.fakes.chat import ChatServer, answer, delta, event, frame, head, refusal, scripted
from tests.rig import until

FINE = answer(frame("Fine.", "stop"))
LLAMA = {"total_slots": 2, "model_path": "x.gguf"}
HELLO = [Message("user", "hello")]
LONG = [
    Message("system", "Be brief."),
    *(Message(role, f"{role} {n} {'x' * 100}") for n in range(6) for role in ("user", "assistant")),
    Message("user", "and now?"),
]


async def asked(
    server: ChatServer, *requests: tuple[Sequence[Message], str], **options: Any
) -> list[list[str | ToolCall | Reading]]:
    """What each request got; all with one client, which forgets no call."""
    got: list[list[str | ToolCall | Reading]] = []
    async with scripted(server) as url:
        client = OpenAiChat(ChatSettings(url, **options))
        await client.load()
        try:
            for messages, call in requests:
                got.append([item async for item in client.exchange(messages, call)])
        finally:
            await client.close()
    return got


async def test_each_call_keeps_a_slot_of_its_own_until_it_is_over() -> None:
    server = ChatServer(FINE, props=LLAMA)
    async with scripted(server) as url:
        client = OpenAiChat(ChatSettings(url))
        await client.load()
        for call in ("a", "b", "a", "too many", ""):
            assert [text async for text in client.stream(HELLO, call)] == ["Fine."]
        client.forget("a")
        assert [text async for text in client.stream(HELLO, "too many")] == ["Fine."]
        await client.close()
    assert [body.get("id_slot") for body in server.asked] == [0, 1, 0, None, None, 0]
    assert server.paths.count("/props") == 1  # once, and never on the way to an answer
    assert "/slots" not in server.paths


async def test_a_server_without_slots_is_not_told_of_them() -> None:
    unlike: tuple[dict[str, Any] | None, ...] = (None, {"total_slots": "many"}, {"models": []})
    for props in unlike:
        server = ChatServer(FINE, props=props)
        assert await asked(server, (HELLO, "a")) == [["Fine."]]
        assert "id_slot" not in server.asked[0]


async def test_how_far_a_prompt_is_read_is_told_apart_from_the_answer() -> None:
    read = event(choices=[], prompt_progress={"total": 10, "cache": 2, "processed": 5})
    odd = event(choices=[], prompt_progress={"total": "ten"})
    server = ChatServer(answer(read, odd, frame("Yes.", "stop")), props=LLAMA)
    assert await asked(server, (HELLO, "a")) == [[Reading(5, 10, 2), "Yes."]]


async def test_tools_asked_for_in_pieces_come_whole_after_the_text() -> None:
    """As OpenAI and llama-server stream them; a server without ids gets the tool's name as one."""
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "time"}}
    pieces = answer(
        delta(role="assistant", content=None),
        delta(content="Let me see. "),
        delta(tool_calls=[first]),
        delta(tool_calls=[{"index": 1, "function": {"name": "transfer", "arguments": '{"to"'}}]),
        delta(tool_calls=[{"index": 1, "function": {"arguments": ':"Ann"}'}}, "odd"]),
        delta("tool_calls"),
    )
    tools = (OURS["time"].function,)
    server = ChatServer(pieces)
    [got] = await asked(server, (HELLO, "a"), tools=tools)
    assert got == [
        "Let me see. ",
        ToolCall("c1", "time", "{}"),
        ToolCall("transfer", "transfer", '{"to":"Ann"}'),
    ]
    assert server.asked[0]["tools"] == [{"type": "function", "function": tools[0]}]


async def test_tools_and_their_results_are_shown_as_such_servers_want_them() -> None:
    server = ChatServer(FINE)
    call = ToolCall("c1", "time", "{}")
    said = [Message("assistant", "", (call,)), Message("tool", "Ten.", answers="c1")]
    await asked(server, ([*HELLO, *said], "a"))
    function = {"name": "time", "arguments": "{}"}
    assert server.asked[0]["messages"] == [
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Ten."},
    ]


async def test_a_server_that_knows_no_tools_is_asked_without() -> None:
    no = refusal(400, message='"auto" tool choice requires --enable-auto-tool-choice; tools')
    server = ChatServer(no, FINE)
    tools = (OURS["time"].function,)
    assert await asked(server, (HELLO, "a"), (HELLO, "a"), tools=tools) == [["Fine."], ["Fine."]]
    assert ["tools" in body for body in server.asked] == [True, False, False]


REFUSALS: tuple[dict[str, Any], ...] = (
    {
        "code": 400,
        "type": "exceed_context_size_error",
        "message": "the request exceeds the available context size, try increasing it",
        "n_prompt_tokens": 400,
        "n_ctx": 100,
    },
    {"message": "This model's maximum context length is 4096 tokens. However, you requested 5000"},
    {"code": "context_length_exceeded", "message": "Your input is too long."},
)


@pytest.mark.parametrize("error", REFUSALS, ids=("llama-server", "vllm", "openai"))
async def test_what_does_not_fit_loses_its_oldest_turns_and_says_so(error: dict[str, Any]) -> None:
    server = ChatServer(refusal(400, **error), refusal(400, **error), FINE)
    assert await asked(server, (LONG, "a")) == [["Fine."]]
    lengths = [len(body["messages"]) for body in server.asked]
    assert lengths[0] > lengths[1] > lengths[2]
    last = server.asked[-1]["messages"]
    assert last[0] == {"role": "system", "content": f"Be brief. {NOTE}"}
    assert last[1]["role"] == "user"
    assert last[-1]["content"] == "and now?"


@pytest.mark.parametrize("error", REFUSALS, ids=("llama-server", "vllm", "openai"))
async def test_so_does_what_is_found_too_long_in_the_middle_of_a_200(error: dict[str, Any]) -> None:
    late = head(200) + event(error=error)
    server = ChatServer(late, late, FINE)
    assert await asked(server, (LONG, "a")) == [["Fine."]]
    lengths = [len(body["messages"]) for body in server.asked]
    assert lengths[0] > lengths[1] > lengths[2]
    assert NOTE in server.asked[-1]["messages"][0]["content"]


async def test_nothing_is_asked_again_once_an_answer_has_begun() -> None:
    server = ChatServer(head(200) + delta(content="Fi") + event(error=REFUSALS[0]))
    with pytest.raises(EngineError, match=r"failed while answering.*context size"):
        await asked(server, (LONG, "a"))
    assert len(server.asked) == 1


async def test_a_question_that_does_not_fit_alone_is_told() -> None:
    server = ChatServer(refusal(400, **REFUSALS[0]))
    with pytest.raises(EngineError, match="no room for the question alone"):
        await asked(server, (LONG, "a"))


roles = st.sampled_from(["user", "assistant"])
talks = st.lists(st.builds(Message, roles, st.text(max_size=30)), max_size=12)


@given(talks, st.booleans(), st.floats(0.1, 0.9))
def test_a_shorter_conversation_is_its_end_with_a_note(
    talk: list[Message], system: bool, share: float
) -> None:
    head = [Message("system", "Be brief.")] if system else []
    question = Message("user", "now?")
    less = shortened([*head, *talk, question], share)
    if less is None:
        assert all(message.role != "user" for message in talk)
        return
    assert NOTE in less[0].content
    kept = less[1:]
    assert kept[0].role == "user"
    assert kept == [*talk, question][-len(kept) :]
    assert len(kept) < len(talk) + 1
    assert is_too_long("maximum context length is 7")
    assert share_that_fits("nonsense") == 0.5


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_server_that_names_a_time_is_left_alone_until_then(status: int, form: str) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    after = "Retry-After: 90\r\n" if form == "seconds" else f"Retry-After: {at}\r\n"
    server = ChatServer(refusal(status, after, message="slow down"))
    async with scripted(server) as url:
        client = OpenAiChat(ChatSettings(url))
        for _ in range(2):
            with pytest.raises(TryLater) as caught:
                await anext(client.stream(HELLO))
            assert 60 < caught.value.after_s <= 90
        await client.close()
    assert len(server.asked) == 1


@pytest.mark.parametrize("after", ["", "Retry-After: soon\r\n", "Retry-After: 0\r\n"])
async def test_one_that_names_none_may_be_asked_again(after: str) -> None:
    server = ChatServer(refusal(429, after, message="slow down"), FINE)
    async with scripted(server) as url:
        client = OpenAiChat(ChatSettings(url))
        with pytest.raises(EngineError, match="slow down") as caught:
            await anext(client.stream(HELLO))
        assert not isinstance(caught.value, TryLater)
        assert [text async for text in client.stream(HELLO)] == ["Fine."]
        await client.close()


async def test_a_restarted_server_is_asked_for_its_slots_anew() -> None:
    server = ChatServer(FINE, props=LLAMA)
    async with scripted(server) as url:
        client = OpenAiChat(ChatSettings(url))
        await client.load()
        assert [text async for text in client.stream(HELLO, "a")] == ["Fine."]
        server._answers[:] = [b""]  # it breaks off before a status
        with pytest.raises(EngineError):
            await anext(client.stream(HELLO, "a"))
        server._answers[:], server._props = [FINE], None
        assert [text async for text in client.stream(HELLO, "a")] == ["Fine."]
        await until(lambda: client.slots.of("b") is None)
        assert [text async for text in client.stream(HELLO, "a")] == ["Fine."]
        await client.close()
    assert [body.get("id_slot") for body in server.asked] == [0, 0, 0, None]


async def test_two_at_once_have_a_slot_each() -> None:
    server = ChatServer(FINE, props=LLAMA)
    async with scripted(server) as url:
        client = OpenAiChat(ChatSettings(url))
        await client.load()

        async def ask(call: str) -> list[str | ToolCall]:
            return [text async for text in client.stream(HELLO, call)]

        assert await asyncio.gather(ask("a"), ask("b")) == [["Fine."]] * 2  # type: ignore[comparison-overlap]
        await client.close()
    assert sorted(body["id_slot"] for body in server.asked) == [0, 1]


class SlotsMachine(RuleBasedStateMachine):
    """No two calls share a slot, a call keeps its own, and none is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.slots, self.count = Slots(3), 3
        self.mine: dict[str, int] = {}

    @rule(call=st.sampled_from("abcde"))
    def asks(self, call: str) -> None:
        slot = self.slots.of(call)
        if slot is None:
            assert call not in self.mine
            assert len(self.mine) == self.count
        else:
            assert 0 <= slot < self.count
            assert self.mine.get(call, slot) == slot
            self.mine[call] = slot

    @rule(call=st.sampled_from("abcde"))
    def ends(self, call: str) -> None:
        self.slots.give_back(call)
        self.mine.pop(call, None)

    @rule(count=st.integers(0, 4))
    def restarted(self, count: int) -> None:
        self.slots.resize(count)
        self.count = count
        self.mine = {call: slot for call, slot in self.mine.items() if slot < count}

    @invariant()
    def each_has_its_own(self) -> None:
        assert len(set(self.mine.values())) == len(self.mine) == self.slots.taken


SlotsMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
test_slots = SlotsMachine.TestCase
