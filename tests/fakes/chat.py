"""Small chat servers on real sockets, good and bad: a script says what each request gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

Write = Callable[[bytes], Awaitable[None]]
Script = Callable[[str, dict[str, Any], Write], Awaitable[None]]


@asynccontextmanager
async def scripted(script: Script) -> AsyncGenerator[str, None]:
    """A small HTTP server: `script` gets path, JSON and a way to write; then it hangs up."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = [
                line.split(":")[1]
                for line in head.lower().split("\r\n")
                if "content-length" in line
            ]
            body = await reader.readexactly(int(length[0])) if length else b"{}"
            await script(head.split()[1], json.loads(body), write)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def head(status: int, kind: str = "text/event-stream", more: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{more}Connection: close\r\n\r\n".encode()
    )


def frame(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def says(*data: bytes) -> Script:
    async def script(path: str, body: dict[str, Any], write: Write) -> None:
        for each in data:
            await write(each)

    return script


def event(**fields: Any) -> bytes:
    """One frame of a stream."""
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def delta(finish: str | None = None, **fields: Any) -> bytes:
    """One frame with this delta."""
    return event(choices=[{"index": 0, "delta": fields, "finish_reason": finish}])


class ChatServer:
    """Answers each request to /v1/chat/completions with the next of `answers`, the last one for ever.

    `props`: what /props says, as llama-server does; None: there is no such page. `asked`: all bodies.
    """

    def __init__(self, *answers: bytes, props: dict[str, Any] | None = None) -> None:
        self._answers, self._props = list(answers), props
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []

    async def __call__(self, path: str, body: dict[str, Any], write: Write) -> None:
        self.paths.append(path)
        if path == "/props":
            known = head(200, "application/json") + json.dumps(self._props).encode()
            return await write(known if self._props is not None else head(404))
        if path != "/v1/chat/completions":
            return await write(head(200))
        self.asked.append(body)
        return await write(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])


def refusal(status: int, more: str = "", **error: Any) -> bytes:
    """A whole response that is no answer."""
    return head(status, "application/json", more) + json.dumps({"error": error}).encode()


def answer(*frames: bytes) -> bytes:
    """A whole response that streams."""
    return head(200) + b"".join(frames) + b"data: [DONE]\n\n"
