"""Chat-completion requests come in over HTTP, answers stream out a word at a time.

The interface is real, so that the agent's client, its timeouts and its cancellation are exercised
exactly as against a large model: whoever disconnects is noticed at once and his answer abandoned.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from engines.responder.answers import History, answer

MODEL = "bargein-responder"


def local_now() -> datetime:
    """The moment in the zone of this box."""
    return datetime.now().astimezone()


@dataclass(frozen=True)
class Pace:
    """How fast it writes: word pieces per second, and seconds before the first."""

    tokens_per_s: float = 40.0
    first_token_s: float = 0.08


@dataclass
class Stats:
    """Requests in progress, ended, abandoned by the caller; word pieces written."""

    active: int = 0
    completed: int = 0
    cancelled: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Job:
    """One request, understood."""

    history: History
    streamed: bool
    usage: bool
    model: str
    created: int = field(default_factory=lambda: int(time.time()))


def parse(body: bytes) -> Job:
    """A request's JSON as a Job; fields it does not know are ignored. Raises ValueError."""
    data = json.loads(body)
    if not isinstance(data, dict) or not isinstance(data.get("messages"), list):
        raise ValueError("the body must be an object with a list called messages")
    history = [_entry(each) for each in data["messages"]]
    options = data.get("stream_options")
    usage = isinstance(options, dict) and bool(options.get("include_usage"))
    return Job(history, bool(data.get("stream")), usage, str(data.get("model") or MODEL))


def _entry(message: object) -> tuple[str, str]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise ValueError("each message must be an object with a role")
    content = message.get("content")
    if isinstance(content, list):  # parts, as multimodal clients send them
        parts = [part.get("text", "") for part in content if isinstance(part, dict)]
        content = " ".join(part for part in parts if isinstance(part, str))
    return message["role"], content if isinstance(content, str) else ""


def pieces(text: str) -> list[str]:
    """The text as word pieces, each with the blank before it."""
    return re.findall(r"\s*\S+", text)


class Generation:
    """One answer being written, at the pace set, counted in `stats`."""

    def __init__(self, job: Job, pace: Pace, stats: Stats, now: datetime) -> None:
        self.job = job
        self._pace, self._stats = pace, stats
        self._pieces = pieces(answer(job.history, now))

    async def run(self) -> AsyncGenerator[str, None]:
        """The word pieces, each at its time."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._pace.first_token_s
        for piece in self._pieces:
            await asyncio.sleep(max(0.0, due - loop.time()))
            self._stats.tokens += 1
            yield piece
            due += 1 / self._pace.tokens_per_s

    def usage(self) -> dict[str, int]:
        """Tokens as this responder counts them: words."""
        asked = sum(len(pieces(text)) for _, text in self.job.history)
        written = len(self._pieces)
        return {
            "prompt_tokens": asked,
            "completion_tokens": written,
            "total_tokens": asked + written,
        }


class Reply(Response):
    """Sends a generation, and watches the caller meanwhile: gone means cancelled, at once."""

    def __init__(self, generation: Generation, stats: Stats) -> None:
        self._generation = generation
        self._stats = stats
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._stats.active += 1
        work = asyncio.create_task(self._write(send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            finished = work.done() and not work.cancelled()
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
            self._stats.active -= 1
            self._stats.completed += finished
            self._stats.cancelled += not finished
        if finished:
            work.result()

    async def _write(self, send: Send) -> None:
        await (self._stream(send) if self._generation.job.streamed else self._whole(send))

    async def _stream(self, send: Send) -> None:
        await send(_head("text/event-stream"))
        await send(_body(self._frame({"role": "assistant", "content": ""})))
        async with aclosing(self._generation.run()) as words:
            async for piece in words:
                await send(_body(self._frame({"content": piece})))
        await send(_body(self._frame({}, finish="stop")))
        if self._generation.job.usage:
            usage = {"choices": [], "usage": self._generation.usage()}
            await send(_body(_event(self._envelope(".chunk") | usage)))
        await send(_body(b"data: [DONE]\n\n", more=False))

    async def _whole(self, send: Send) -> None:
        async with aclosing(self._generation.run()) as words:
            text = "".join([piece async for piece in words])
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        payload = self._envelope("") | {"choices": [choice], "usage": self._generation.usage()}
        await send(_head("application/json"))
        await send(_body(json.dumps(payload).encode(), more=False))

    def _frame(self, delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _event(self._envelope(".chunk") | {"choices": [choice]})

    def _envelope(self, kind: str) -> dict[str, Any]:
        job = self._generation.job
        name = f"chatcmpl-{id(self):x}"
        object_ = f"chat.completion{kind}"
        return {"id": name, "object": object_, "created": job.created, "model": job.model}


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _head(kind: str) -> Message:
    headers = [(b"content-type", kind.encode()), (b"cache-control", b"no-cache")]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _body(data: bytes, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def application(pace: Pace, stats: Stats, clock: Callable[[], datetime] = local_now) -> Starlette:
    """The routes: chat completions, models, health and counters."""

    async def chat(request: Request) -> Response:
        try:
            job = parse(await request.body())
        except ValueError as error:
            detail = {"message": str(error), "type": "invalid_request_error", "code": 400}
            return JSONResponse({"error": detail}, 400)
        return Reply(Generation(job, pace, stats, clock()), stats)

    async def models(_: Request) -> Response:
        entry = {"id": MODEL, "object": "model", "created": 0, "owned_by": "bargein"}
        return JSONResponse({"object": "list", "data": [entry]})

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", **asdict(stats)})

    async def metrics(_: Request) -> Response:
        return JSONResponse(asdict(stats))

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
            Route("/metrics.json", metrics),
        ]
    )


class Server(uvicorn.Server):
    """A uvicorn server that says when it listens."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        quiet: dict[str, Any] = {"log_level": "warning", "access_log": False, "lifespan": "off"}
        plain: dict[str, Any] = {"loop": "asyncio", "http": "h11", "ws": "none"}
        super().__init__(uvicorn.Config(app, timeout_graceful_shutdown=1, **quiet, **plain))
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does, then set `listening`."""
        await super().startup(sockets=sockets)
        self.listening.set()


def bound(host: str, port: int) -> socket.socket:
    """A TCP socket bound to the address; port 0 picks a free one. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


@asynccontextmanager
async def serving(
    app: Callable[[Scope, Receive, Send], Awaitable[None]], host: str = "127.0.0.1"
) -> AsyncGenerator[str, None]:
    """Run an ASGI app on a free port of this box while the block lasts; yields its base URL."""
    sock = bound(host, 0)
    server = Server(app)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        await server.listening.wait()
        yield f"http://{host}:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        sock.close()
