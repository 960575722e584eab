"""A chat server that speaks OpenAI's streaming protocol: requests come in, what each is to meet goes out.

    async with ChatServer(Says("Hello", " there."), Resets(after=1), Status(503)) as server:
        OpenAiChat(ChatSettings(server.url, "model"))

Each request gets the next act; the last act stands for all that follow. Sockets are real: a reset is
an RST, a refusal is nobody listening.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

RST = struct.pack("ii", 1, 0)
PHRASES = {200: "OK", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Unavailable"}


@dataclass(frozen=True)
class Says:
    """A whole answer, token by token, then `[DONE]`. `late`: set it to let the answer begin."""

    tokens: tuple[str, ...] = ("Fine", ".")
    late: asyncio.Event | None = None


@dataclass(frozen=True)
class Status:
    """An HTTP error with the body a provider sends with it."""

    code: int
    message: str = "try later"


@dataclass(frozen=True)
class Resets:
    """The connection is reset after so many tokens; before the status line for a negative number."""

    after: int = 0


@dataclass(frozen=True)
class Closes:
    """The connection is closed in good order, but in the middle of the answer."""

    after: int = 0


@dataclass(frozen=True)
class Stalls:
    """Nothing comes any more after so many tokens; the connection stands."""

    after: int = 0


@dataclass(frozen=True)
class Garbage:
    """What is no JSON, among tokens that are."""

    line: bytes = b"data: {nonsense"


Act = Says | Status | Resets | Closes | Stalls | Garbage
TOKENS = ("One", " two", " three", " four")


def delta(text: str, finish: str | None = None) -> bytes:
    """One event of the stream."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def headers(code: int, kind: str = "text/event-stream") -> bytes:
    """A status line and what belongs to it; the end of the body is the end of the connection."""
    phrase = PHRASES.get(code, "Error")
    return f"HTTP/1.1 {code} {phrase}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode()


@dataclass
class ChatServer:
    """Listens while the block lasts, except while it refuses. `asked`: the bodies of all requests."""

    acts: Sequence[Act] = (Says(),)
    asked: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """As in llm.url."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> ChatServer:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def listen(self) -> None:
        """Take connections, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Nobody listens: connections are refused by the kernel."""
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if head.startswith("get "):  # /health, /models
                writer.write(headers(200, "application/json") + b"{}")
                return
            length = next(line for line in head.split("\r\n") if line.startswith("content-length"))
            self.asked.append(json.loads(await reader.readexactly(int(length.split(":")[1]))))
            act = self.acts[min(len(self.asked), len(self.acts)) - 1]
            await self._play(act, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client is gone
        finally:
            with suppress(OSError):
                await writer.drain()
            writer.close()

    async def _play(self, act: Act, writer: asyncio.StreamWriter) -> None:
        if isinstance(act, Status):
            body = json.dumps({"error": {"message": act.message, "code": act.code}}).encode()
            writer.write(headers(act.code, "application/json") + body)
        elif isinstance(act, Says):
            if act.late is not None:
                await act.late.wait()
            events = [delta(token) for token in act.tokens]
            writer.write(b"".join([headers(200), *events, delta("", "stop"), b"data: [DONE]\n\n"]))
        elif isinstance(act, Garbage):
            writer.write(headers(200) + delta(TOKENS[0]) + act.line + b"\n\n" + delta(TOKENS[1]))
        else:
            await self._break(act, writer)

    async def _break(self, act: Resets | Closes | Stalls, writer: asyncio.StreamWriter) -> None:
        if act.after >= 0:
            writer.write(headers(200) + b"".join(delta(token) for token in TOKENS[: act.after]))
            await writer.drain()
        if isinstance(act, Stalls):
            await asyncio.Event().wait()
        elif isinstance(act, Resets):
            await asyncio.sleep(0)
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            writer.transport.abort()
