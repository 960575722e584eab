"""Questions, well and badly heard, go to the embedded responder; useful answers come out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.responder.answers import INTERRUPTED, answer
from engines.responder.numbers import cardinal, clock, ordinal, read, year
from engines.responder.server import Pace, Stats, application, serving
from engines.responder.stories import STORIES

NOW = datetime(2025, 11, 21, 15, 20)
QUICK = Pace(tokens_per_s=1e6, first_token_s=0)


def say(text: str, *before: tuple[str, str]) -> str:
    return answer([*before, ("user", text)], NOW)


@pytest.mark.parametrize(
    ("heard", "part"),
    [
        ("what time is it", "twenty past three in the afternoon"),
        ("What time is at?", "twenty past three"),
        ("what is the date today", "Friday, the twenty first of November, twenty twenty five"),
        ("what day is tomorrow", "Tomorrow is Saturday"),
        ("what is twelve times seven", "eighty four"),
        ("what is twelve time seven", "eighty four"),
        ("seven plus five", "is twelve"),
        ("what's 7 + 5?", "is twelve"),
        ("one hundred and five minus six", "ninety nine"),
        ("twenty divided by eight", "two point five"),
        ("ten divided by three", "about three point three three"),
        ("ten divided by zero", "Nothing can be divided"),
        ("two plus to", "is four"),
        ("three minus ten", "minus seven"),
        ("spell ocean", "o, c, e, a, n"),
        ("how do you spell the word window", "double you, i, n"),
        ("repeat after me the sea is calm", "The sea is calm."),
        ("tell me a story", "story"),
        ("tell me a storey", "story"),
        ("tell me a joke", "?"),
        ("help", "not a language model"),
        ("who are you", "not a language model"),
        ("hello", "Hello"),
        ("thank you", "welcome"),
        ("goodbye", "Goodbye"),
        ("count to ten", "eight, nine, ten."),
        ("count to five", "four, five."),
        ("count two five", "four, five."),
        ("count from five to three", "Five, four, three."),
        ("count to nine thousand", "too far"),
        ("how many days in a week", "seven days in a week"),
        ("how many minutes are in a day", "one thousand four hundred and forty"),
        ("how many inches in a foot", "twelve"),
        ("flip a coin", "The coin says"),
        ("how is the weather", "cannot know"),
        ("stop", "go on"),
        ("colourless green ideas", "colourless green ideas"),
        ("...", "did not hear"),
    ],
)
def test_answers(heard: str, part: str) -> None:
    assert part in say(heard)


def test_says_its_last_answer_again() -> None:
    before = (("user", "seven plus five"), ("assistant", "Seven plus five is twelve."))
    assert say("say that again", *before) == before[1][1]
    assert "not said anything" in say("say that again")


def test_stories_are_long_and_different_each_time() -> None:
    assert all(len(text.split()) * 60 / 175 > 45 for text in STORIES.values())
    first = say("tell me a story")
    asked = (("user", "tell me a story"), ("assistant", first))
    assert say("another story", *asked) != first
    assert STORIES["fox"] in say("tell me the story of the fox")


@given(st.integers(1, 180))
def test_goes_on_exactly_where_it_was_cut(heard: int) -> None:
    whole = say("tell me a story").split()
    asked = ("user", "tell me a story")
    cut = ("assistant", f"{' '.join(whole[:heard])} {INTERRUPTED}")
    between = (("user", "stop"), ("assistant", "All right."))
    rest = say("go on", asked, cut, *between)
    assert rest.removeprefix("Where was I? ").split() == whole[heard:]


def test_goes_on_again_when_cut_again() -> None:
    whole = say("tell me a story").split()
    history = [("user", "tell me a story"), ("assistant", f"{' '.join(whole[:50])} {INTERRUPTED}")]
    rest = say("go on", *history).split()
    history += [("user", "go on"), ("assistant", f"{' '.join(rest[:40])} {INTERRUPTED}")]
    assert say("please continue", *history).split()[3:] == rest[40:]


def test_has_nothing_to_go_on_with() -> None:
    assert "Nobody has interrupted me" in say("go on")


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), st.text()), max_size=5))
def test_always_answers(history: list[tuple[str, str]]) -> None:
    assert answer(history, NOW).strip()


@given(st.integers(-(10**14), 10**14))
def test_numbers_read_back(n: int) -> None:
    words = cardinal(n).removeprefix("minus ").split()
    assert read(words) == abs(n)


def test_numbers_and_clocks_in_words() -> None:
    assert [ordinal(n) for n in (1, 12, 20, 31)] == [
        "first",
        "twelfth",
        "twentieth",
        "thirty first",
    ]
    assert [year(n) for n in (1905, 2000, 2025)] == [
        "nineteen oh five",
        "two thousand",
        "twenty twenty five",
    ]
    assert clock(datetime(2025, 1, 1, 23, 50)) == "ten to twelve at night"
    assert clock(datetime(2025, 1, 1, 0, 0)) == "twelve o clock at night"
    assert clock(datetime(2025, 1, 1, 8, 1)) == "one minute past eight in the morning"
    assert clock(datetime(2025, 1, 1, 9, 54)) == "six minutes to ten in the morning"
    assert clock(datetime(2025, 1, 1, 8, 45)) == "quarter to nine in the morning"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = application(QUICK, Stats(), lambda: NOW)
    async with serving(app) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


def ask(text: str, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], **more}


async def test_a_whole_answer(client: httpx.AsyncClient) -> None:
    reply = (await client.post("/v1/chat/completions", json=ask("seven plus five"))).json()
    assert reply["choices"][0]["message"]["content"] == "Seven plus five is twelve."
    assert reply["usage"]["completion_tokens"] == 5
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]}
    assert "Hello" in (await client.post("/v1/chat/completions", json=parts)).text


async def test_health_models_and_metrics(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json()["status"] == "ok"
    assert (await client.get("/v1/models")).json()["data"][0]["id"] == "bargein-responder"
    assert (await client.get("/metrics.json")).json()["cancelled"] == 0


@pytest.mark.parametrize("body", [b"", b"[]", b'{"messages": 1}', b'{"messages": [1]}', b"\xff"])
async def test_bad_requests_are_told_so(client: httpx.AsyncClient, body: bytes) -> None:
    reply = await client.post("/v1/chat/completions", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]


async def lines_of(response: httpx.Response) -> AsyncGenerator[str, None]:
    async for line in response.aiter_lines():
        if line:
            yield line


async def test_streams_word_pieces_usage_and_done(client: httpx.AsyncClient) -> None:
    body = ask("seven plus five", stream=True, stream_options={"include_usage": True})
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = [line async for line in lines_of(response)]
    assert lines[-1] == "data: [DONE]"
    assert '"usage"' in lines[-2]
    assert '"finish_reason": "stop"' in lines[-3]
    assert len([line for line in lines if '"content": " ' in line]) == 4


async def test_a_disconnect_cancels_at_once() -> None:
    released = asyncio.Event()

    class Watched(Stats):
        def __setattr__(self, name: str, value: int) -> None:
            super().__setattr__(name, value)
            if name == "cancelled" and value == 1:
                released.set()

    stats = Watched()
    app = application(Pace(tokens_per_s=0.001, first_token_s=0), stats)
    async with serving(app) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        body = ask("tell me a story", stream=True)
        async with (
            client.stream("POST", "/v1/chat/completions", json=body) as response,
            aclosing(lines_of(response)) as lines,
        ):
            await anext(lines)
            assert stats.active == 1
        async with asyncio.timeout(40):  # the next token is 1000 s away
            await released.wait()
    assert (stats.active, stats.cancelled, stats.completed) == (0, 1, 0)


async def start(*options: str) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "engines.responder", *options)
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, stderr=pipe, stdout=pipe)


async def test_a_port_taken_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = await start("--port", str(taken.getsockname()[1]))
        _, errors = await process.communicate()
    assert process.returncode == os.EX_CONFIG == 78
    assert errors.count(b"\n") == 1
    assert b"cannot listen on 127.0.0.1" in errors


async def test_serves_from_the_command_line() -> None:
    process = await start("--port", "0", "--tokens-per-s", "5000", "--first-token-ms", "0")
    assert process.stderr is not None
    try:
        url = (await process.stderr.readline()).decode().split()[-1]
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            reply = await client.post("/v1/chat/completions", json=ask("hello"))
        assert "Hello" in reply.text
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode in (0, -signal.SIGTERM)
