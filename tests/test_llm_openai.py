"""Conversations go through the client to real servers, good and bad; text or a reason comes out."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.llm import LlmActor
from engines.llm_openai import ChatSettings, OpenAiChat, SseDecoder
from engines.protocols import EngineError
from engines.responder.server import Pace, Stats, application, serving
from schemas import EngineFailed, LlmFinished, Message, Respond, Sentence
from tests.fakes.chat import Script, Write, frame, head, says, scripted
from tests.rig import rig

KEY = "sk-very-secret"
HELLO = [Message("user", "hello")]


@asynccontextmanager
async def chat(url: str, **settings: Any) -> AsyncGenerator[OpenAiChat, None]:
    client = OpenAiChat(ChatSettings(url, **settings), KEY)
    try:
        yield client
    finally:
        await client.close()


async def taken(client: OpenAiChat) -> tuple[list[str], str]:
    """What came, and the line of the EngineError that ended it ("" when none)."""
    came: list[str] = []
    try:
        async for text in client.stream(HELLO):
            assert isinstance(text, str)
            came.append(text)
    except EngineError as error:
        return came, str(error)
    return came, ""


async def answer_of(script: Script, **settings: Any) -> tuple[list[str], str]:
    async with scripted(script) as url, chat(url, **settings) as client:
        return await taken(client)


@asynccontextmanager
async def responding(stats: Stats) -> AsyncGenerator[OpenAiChat, None]:
    """A client of the real responder; behind the block `stats` are final."""
    app = application(Pace(1e6, 0), stats, lambda: datetime(2025, 11, 21, 15, 20))
    async with serving(app) as url, chat(f"{url}/v1/") as client:
        yield client


async def test_streams_an_answer() -> None:
    stats = Stats()
    async with responding(stats) as client:
        await client.load()
        pieces = [text async for text in client.stream([Message("user", "seven plus five")])]
    assert pieces == ["Seven", " plus", " five", " is", " twelve."]
    assert (stats.completed, stats.cancelled) == (1, 0)


async def test_closing_disconnects() -> None:
    stats = Stats()
    async with (
        serving(application(Pace(0.001, 0), stats)) as url,
        chat(url, between_tokens_s=60) as client,
    ):
        async with aclosing(client.stream([Message("user", "tell me a story")])) as stream:
            assert await anext(stream) == "Here"
            assert stats.active == 1
        async with aclosing(client.stream([Message("user", "tell me a story")])) as stream:
            task = asyncio.ensure_future(anext(stream))
            await task
            waiting = asyncio.ensure_future(anext(stream))
            waiting.cancel()
            await asyncio.wait({waiting})
    assert (stats.active, stats.cancelled) == (0, 2)


async def test_many_requests_one_after_another_and_at_once() -> None:
    stats = Stats()
    async with responding(stats) as client:
        for _ in range(20):
            came, error = await taken(client)
            assert ("".join(came), error) == ("Hello. What can I do for you?", "")
        both = await asyncio.gather(*(taken(client) for _ in range(8)))
    assert all(not error for _, error in both)
    assert stats.completed == 28


async def test_pings_usage_progress_and_odd_frames_are_no_text() -> None:
    noise = (
        b": ping\r\n\r\n",
        b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n',
        b'data: {"prompt_progress":{"total":10,"processed":5}}\r\n\r\n',
        b'event: x\nid: 1\ndata: {"choices":[{"delta":{"content":null}}]}\n\n',
        b"data: 7\n\n",
    )
    script = says(head(200), *noise, frame("a\u2028b"), *noise, frame("", "stop"), *noise)
    assert await answer_of(script) == (["a\u2028b"], "")
    done = says(head(200), frame("a"), b"data: [DONE]\n\n")
    assert await answer_of(done) == (["a"], "")


async def test_a_server_that_does_not_stream_is_understood() -> None:
    choice = {"message": {"content": "all at once"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice]}).encode()
    assert await answer_of(says(head(200, "application/json"), body)) == (["all at once"], "")


async def test_a_truncated_answer_is_an_error_after_what_came() -> None:
    came, error = await answer_of(says(head(200), frame("half"), frame(" of")))
    assert came == ["half", " of"]
    assert "broke off" in error
    chunked = head(200, more="Transfer-Encoding: chunked\r\n")
    sized = frame("half")
    came, error = await answer_of(says(chunked, b"%x\r\n%s\r\n" % (len(sized), sized)))
    assert came == ["half"]
    assert "broke the connection off" in error


@pytest.mark.parametrize(
    "line", [b'data: {"error":{"message":"slot lost"}}', b'error: "slot lost"']
)
async def test_an_error_in_the_middle_is_told(line: bytes) -> None:
    came, error = await answer_of(says(head(200), frame("half"), line + b"\n\n"))
    assert came == ["half"]
    assert "slot lost" in error


async def test_what_is_not_json_is_told() -> None:
    _, error = await answer_of(says(head(200), b"data: <html>\n\n"))
    assert "not JSON" in error


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "API key"),
        (403, "API key"),
        (404, "correct the url or the model"),
        (418, "HTTP 418"),
        (429, "wait 7 s"),
        (500, "look at its log"),
        (503, "/health"),
    ],
)
async def test_a_refusal_says_what_to_do_and_not_the_key(status: int, advice: str) -> None:
    body = json.dumps({"error": {"message": f"key {KEY} is bad"}}).encode()
    script = says(head(status, "application/json", "Retry-After: 7\r\n"), body)
    came, error = await answer_of(script)
    assert came == []
    assert advice in error
    assert "key *** is bad" in error
    assert KEY not in error


async def test_a_field_refused_is_left_out_from_then_on() -> None:
    asked: list[dict[str, Any]] = []

    async def strict(path: str, body: dict[str, Any], write: Write) -> None:
        if path == "/props":
            return await write(head(404))
        asked.append(body)
        if "return_progress" in body:
            await write(head(400, "application/json") + b'{"error":"unknown return_progress"}')
        else:
            await write(head(200) + frame("fine", "stop"))
        return None

    async with scripted(strict) as url, chat(url) as client:
        assert await taken(client) == (["fine"], "")
        assert await taken(client) == (["fine"], "")
    assert ["return_progress" in body for body in asked] == [True, False, False]
    assert all(body["stream"] is True for body in asked)


async def test_a_400_about_something_else_is_not_asked_again() -> None:
    _, error = await answer_of(says(head(400, "application/json"), b'{"error":"too long"}'))
    assert 'HTTP 400; correct the settings: "too long"' in error


async def test_slow_servers_are_given_up_on() -> None:
    never = asyncio.Event()

    async def no_headers(path: str, body: dict[str, Any], write: Write) -> None:
        await never.wait()

    async def only_headers(path: str, body: dict[str, Any], write: Write) -> None:
        await write(head(200) + b": ping\n\n")
        await never.wait()

    async def one_token(path: str, body: dict[str, Any], write: Write) -> None:
        await write(head(200) + frame("one"))
        await never.wait()

    for script in (no_headers, only_headers):
        came, error = await answer_of(script, first_token_s=0.05)
        assert came == []
        assert "no first text within 0.05 s" in error
    came, error = await answer_of(one_token, between_tokens_s=0.05)
    assert came == ["one"]
    assert "no next text within 0.05 s" in error


async def test_a_slow_taker_is_not_the_servers_fault() -> None:
    async with (
        scripted(says(head(200), frame("one"), frame("two"), frame("", "stop"))) as url,
        chat(url, between_tokens_s=0.05) as client,
        aclosing(client.stream(HELLO)) as stream,
    ):
        assert await anext(stream) == "one"
        loop, passed = asyncio.get_running_loop(), asyncio.Event()
        loop.call_later(0.1, passed.set)
        await passed.wait()
        assert [text async for text in stream] == ["two"]


async def test_health() -> None:
    async def by_models(path: str, body: dict[str, Any], write: Write) -> None:
        await write(head(404 if path == "/health" else 200))

    for script, ready, reason in (
        (says(head(200)), True, ""),
        (says(head(503)), False, "loading"),
        (by_models, True, ""),
        (says(head(401)), False, "API key"),
        (says(b"nonsense\r\n\r\n"), False, "cannot be reached"),
    ):
        async with scripted(script) as url, chat(url) as client:
            assert await client.healthy() is ready
            assert reason in client.reason


async def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with chat(f"http://127.0.0.1:{port}") as client:
        assert not await client.healthy()
        assert "cannot be reached" in client.reason
        assert "start it" in (await taken(client))[1]
        with pytest.raises(EngineError, match="cannot be reached"):
            await client.load()


@pytest.mark.parametrize("url", ["localhost:8080", "", "http://h:port"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(EngineError, match="no address"):
        OpenAiChat(ChatSettings(url))


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1)),
    st.data(),
)
def test_the_decoder_does_not_mind_the_cut(texts: list[str], data: st.DataObject) -> None:
    stream = b"".join(b"data: " + text.encode() + b"\r\n\n" for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    decoder, events = SseDecoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += decoder.push(stream[start:end])
    assert events + decoder.end() == texts


async def test_an_endpoint_that_hangs_is_left_for_the_next_one_and_nothing_is_said_twice() -> None:
    """The actor with real clients: one server stalls in mid-answer, the other is the responder."""

    async def stalls(path: str, body: dict[str, Any], write: Write) -> None:
        await write(head(200))
        if path != "/health":
            await write(frame("Twelve times seven is ") + frame("eighty four. And"))
            await asyncio.get_running_loop().create_future()

    app = application(Pace(1e6, 0), Stats())
    async with (
        asyncio.timeout(40),
        scripted(stalls) as bad,
        serving(app) as good,
        chat(bad, between_tokens_s=0.05) as first,
        chat(good) as second,
        rig(Sentence, LlmFinished, EngineFailed) as agent,
        agent.running(LlmActor({"bad": first, "good": second})),
    ):
        question = Message("user", "what is twelve times seven")
        agent.publish(Respond(call="C", turn=1, messages=(question,)))
        assert (await agent.heard(LlmFinished)).error == ""
        said = [sentence.text for sentence in agent.past(Sentence)]
        assert said == ["Twelve times seven is eighty four."]
        failed = await agent.heard(EngineFailed)
        assert failed.endpoint == "bad"
        assert "no next text within 0.05 s" in failed.error
