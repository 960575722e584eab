"""The fakes are honest: the real client meets each way a server can fail, says so, and then goes on."""

from __future__ import annotations

import asyncio

import pytest

from engines.llm_openai import ChatSettings, OpenAiChat
from engines.protocols import EngineError
from tests.fakes.openai_sse import Act, ChatServer, Closes, Garbage, Resets, Says, Stalls, Status


async def asked(client: OpenAiChat) -> tuple[str, str]:
    """The text that came, and the error that ended it."""
    came = []
    try:
        async for text in client.stream([("user", "hello")]):
            came.append(text)
    except EngineError as error:
        return "".join(came), str(error)
    return "".join(came), ""


@pytest.mark.parametrize(
    ("act", "text", "says"),
    [
        (Status(429), "", "try later"),
        (Status(500), "", "look at its log"),
        (Status(503), "", "/health"),
        (Resets(after=-1), "", "broke the connection off"),
        (Resets(after=0), "", ""),
        (Closes(after=2), "One two", "broke off"),
        (Stalls(after=0), "", "no first text"),
        (Stalls(after=1), "One", "no next text"),
        (Garbage(), "One", "not JSON"),
    ],
)
async def test_each_failure_is_told_and_the_next_request_works(
    act: Act, text: str, says: str
) -> None:
    async with ChatServer((act, Says())) as server:
        settings = ChatSettings(server.url, "m", first_token_s=0.1, between_tokens_s=0.1)
        client = OpenAiChat(settings, "key")
        try:
            came, error = await asked(client)
            assert came == text
            assert error
            assert says in error
            assert await asked(client) == ("Fine.", "")
        finally:
            await client.close()
    assert len(server.asked) == 2


async def test_a_server_that_refuses_comes_back_on_its_port() -> None:
    async with ChatServer((Says(late=(late := asyncio.Event())),)) as server:
        client = OpenAiChat(ChatSettings(server.url, "m"), "key")
        try:
            await server.refuse()
            assert "cannot be reached" in (await asked(client))[1]
            await server.listen()
            asyncio.get_running_loop().call_soon(late.set)
            assert await asked(client) == ("Fine.", "")
        finally:
            await client.close()
