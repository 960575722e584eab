"""A conversation comes in, the text of any OpenAI-compatible chat server goes out as it is written.

Closing the stream closes the connection: to these servers a disconnect is the cancel. Each request
has a connection of its own, since llama-server closes it behind each stream without saying so
(15 of 150 requests failed on a kept one, 0 of 150 so).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import structlog

from engines.context import is_too_long, share_that_fits, shortened
from engines.llama_slots import Slots
from engines.protocols import EngineError, TryLater
from schemas import Message, ToolCall

log = structlog.get_logger()
_TOO_LONG = 300  # characters of a server's own words that are worth repeating


def _progress() -> dict[str, Any]:
    # llama-server looks for a disconnect at each report: prefill ends in 11-22 ms, not seconds.
    return {"return_progress": True}


@dataclass(frozen=True)
class ChatSettings:
    """Where the server is, and how patient to be with it.

    `url` is the server's base, with or without the trailing /v1. `extra` are fields of the request
    beyond the common ones; those a server refuses are left out from then on. Seconds: `connect_s`
    for the connection, `first_token_s` from the request to the first text, `between_tokens_s` from
    one text to the next (pings and progress reports count for neither). `tools`: those the model
    may ask for, each as the `function` of such a request.
    """

    url: str
    model: str = "default"
    connect_s: float = 2.0
    first_token_s: float = 10.0
    between_tokens_s: float = 5.0
    extra: Mapping[str, Any] = field(default_factory=_progress)
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def root(self) -> str:
        """The base without /v1 and slash."""
        return self.url.rstrip("/").removesuffix("/v1").rstrip("/")


class SseDecoder:
    """Bytes of a text/event-stream in any cut in, the data of each event out. Pure."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def push(self, received: bytes) -> list[str]:
        """The events these bytes complete; comments, ids and names are dropped."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        events = [event for line in lines if (event := self._line(line.removesuffix(b"\r")))]
        return [event.decode(errors="replace") for event in events]

    def end(self) -> list[str]:
        """The stream has ended; an event whose blank line never came."""
        return self.push(b"\n\n")

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            event, self._data = b"\n".join(self._data), []
            return event or None
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"error":  # older llama-server
            self._data.append(b'{"error":' + value + b"}")
        return None


@dataclass(frozen=True)
class Reading:
    """llama-server has read `processed` of the prompt's `total` tokens, `cached` of them known before."""

    processed: int
    total: int
    cached: int = 0


@dataclass
class _Progress:
    """Of one stream: is it complete, and until when must the next text be here (loop time)?

    `calls`: the tools asked for so far, by index: id, name, arguments.
    """

    deadline: float
    waiting_for: str = "first"
    finished: bool = False
    done: bool = False
    calls: dict[int, list[str]] = field(default_factory=dict)


class _TooLong(EngineError):
    """The server found only after its 200 that the conversation does not fit; in its own words, `said`."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


class OpenAiChat:
    """A client of /v1/chat/completions. `reason` says why `healthy` was last false.

    A llama-server says at /props how many slots it has; then each call keeps one, see llama_slots.
    """

    def __init__(self, settings: ChatSettings, api_key: str = "") -> None:
        self._settings = settings
        self._key = api_key.strip()
        self._extra = dict(settings.extra)
        if settings.tools:
            self._extra["tools"] = [
                {"type": "function", "function": dict(tool)} for tool in settings.tools
            ]
        self.slots = Slots()
        self._slots_known = False
        self._learning: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self.reason = ""
        headers = {"Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._client = httpx.AsyncClient(
            headers=headers,
            limits=httpx.Limits(max_keepalive_connections=0),
            timeout=httpx.Timeout(None, connect=settings.connect_s),
            trust_env=not _on_this_box(settings.root),
        )

    async def load(self) -> None:
        """Return when the server is ready. Raises EngineError with the reason when it is not."""
        if not await self.healthy():
            raise EngineError(self.reason)
        await self._learn_slots()

    async def healthy(self) -> bool:
        """Ask /health, or /v1/models where there is none; see `reason` when False."""
        try:
            async with asyncio.timeout(self._settings.connect_s):
                answer = await self._get("/health")
                if answer.status_code in (404, 405):
                    answer = await self._get("/v1/models")
        except TimeoutError:
            self.reason = f"{self._settings.root} does not answer; restart the model server"
        except httpx.HTTPError as error:
            self.reason = self._unreachable(error)
        else:
            well = answer.status_code == 200
            self.reason = "" if well else self._refused(answer, answer.text)
        return not self.reason

    async def _get(self, path: str) -> httpx.Response:
        return await self._client.get(self._settings.root + path)

    async def _learn_slots(self) -> None:
        """Once, and again after a failure: the server may be another one then. Never an error."""
        self._slots_known = True
        try:
            async with asyncio.timeout(self._settings.connect_s):
                self.slots.resize(_total_slots(await self._get("/props")))
        except (TimeoutError, httpx.HTTPError):
            self.slots.resize(0)

    def _learn_slots_soon(self) -> None:
        """Beside the request, which goes by what was known before: it must not wait for this."""
        if not self._slots_known and (self._learning is None or self._learning.done()):
            self._learning = asyncio.get_running_loop().create_task(self._learn_slots())

    async def stream(
        self, messages: Sequence[Message], call: str = ""
    ) -> AsyncGenerator[str | ToolCall, None]:
        """Answer a conversation of `call`: pieces of text as they come, at the end the tools asked for.

        Closing it cancels. What does not fit the model's context is left out, the oldest turns first.
        Raises EngineError, after yielding what came, when the server refuses, stalls, breaks off
        or reports an error; TryLater when it names a time at which it may be asked again.
        """
        async with aclosing(self.exchange(messages, call)) as items:
            async for item in items:
                if not isinstance(item, Reading):
                    yield item

    async def exchange(
        self, messages: Sequence[Message], call: str = ""
    ) -> AsyncGenerator[str | ToolCall | Reading, None]:
        """The same, and how far the prompt has been read."""
        loop = asyncio.get_running_loop()
        if (left_s := self._not_before - loop.time()) > 0:
            raise TryLater(f"{self._settings.root} asked to be left alone for a while", left_s)
        progress = _Progress(loop.time() + self._settings.first_token_s)
        try:
            self._learn_slots_soon()
            while True:
                response = await self._open(messages, call, progress)
                try:
                    async with aclosing(self._items(response, progress)) as items:
                        async for item in items:
                            yield item
                    return
                except _TooLong as error:
                    if progress.waiting_for != "first" or progress.calls:
                        raise  # what was said can't be taken back
                    messages = self._less_of(messages, error.said, call)
                finally:
                    await response.aclose()
        except httpx.HTTPError as error:
            self._slots_known = False
            raise EngineError(self._broken(error)) from error
        except TimeoutError as error:
            raise EngineError(self._late(progress)) from error

    def forget(self, call: str) -> None:
        """It is over; its slot is free."""
        self.slots.give_back(call)

    async def close(self) -> None:
        """Close the client; streams still open end."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        await self._client.aclose()

    async def _open(
        self, messages: Sequence[Message], call: str, progress: _Progress
    ) -> httpx.Response:
        """The response, its status 200.

        A refusal that names a field of ours is asked again without it; one that finds the conversation
        too long, again with less of it.
        """
        while True:
            async with asyncio.timeout_at(progress.deadline):
                response = await self._client.send(self._request(messages, call), stream=True)
                if response.status_code == 200:
                    return response
                try:
                    refusal = (await response.aread()).decode(errors="replace")
                finally:
                    await response.aclose()
            if response.status_code in (400, 413, 422) and is_too_long(refusal):
                messages = self._less_of(messages, refusal, call)
            else:
                self._leave_out(response, refusal)

    def _leave_out(self, response: httpx.Response, refusal: str) -> None:
        """The fields this server refuses. Raises EngineError when it is about something else."""
        refused = [name for name in self._extra if name in refusal]
        if response.status_code not in (400, 422) or not refused:
            self._heed(response)
            error = self._refused(response, refusal)
            left_s = self._not_before - asyncio.get_running_loop().time()
            raise TryLater(error, left_s) if left_s > 0 else EngineError(error)
        for name in refused:
            del self._extra[name]
        log.warning("fields refused and left out", server=self._settings.root, fields=refused)

    def _heed(self, response: httpx.Response) -> None:
        """The server names a time before which it must not be asked."""
        after_s = _seconds(response.headers.get("retry-after", ""))
        if response.status_code in (429, 503) and after_s:
            self._not_before = asyncio.get_running_loop().time() + after_s

    def _less_of(self, messages: Sequence[Message], refusal: str, call: str) -> list[Message]:
        less = shortened(messages, share_that_fits(refusal))
        if less is None:
            raise EngineError(
                f"{self._settings.root} has no room for the question alone; give the model a larger "
                f"context{self._quoted(refusal)}"
            )
        log.warning("too long for the model", call_id=call, left_out=len(messages) - len(less))
        return less

    def _request(self, messages: Sequence[Message], call: str) -> httpx.Request:
        said = [_as_json(message) for message in messages]
        body = {**self._extra, "model": self._settings.model, "messages": said, "stream": True}
        if (slot := self.slots.of(call)) is not None:
            body["id_slot"] = slot
        url = f"{self._settings.root}/v1/chat/completions"
        return self._client.build_request("POST", url, json=body)

    async def _items(
        self, response: httpx.Response, progress: _Progress
    ) -> AsyncGenerator[str | ToolCall | Reading, None]:
        loop = asyncio.get_running_loop()
        async with aclosing(_events(response, progress)) as events:
            async for event in events:
                for item in self._understood(event, progress):
                    yield item
                    if isinstance(item, str):
                        progress.waiting_for = "next"
                        progress.deadline = loop.time() + self._settings.between_tokens_s
                if progress.done:
                    break
        if not progress.finished:
            raise EngineError(
                f"{self._settings.root} broke off in the middle of an answer; look at its log"
            )
        for id_, name, arguments in progress.calls.values():
            yield ToolCall(id_ or name, name, arguments or "{}")

    def _understood(self, event: str, progress: _Progress) -> Iterator[str | Reading]:
        """What one event holds; nothing for usage, pings and what is unknown. Raises EngineError."""
        if event.strip() == "[DONE]":
            progress.done = progress.finished = True
            return
        try:
            frame = json.loads(event)
        except ValueError as error:
            message = f"{self._settings.root} sends what is not JSON; is it a chat server?"
            raise EngineError(message) from error
        if not isinstance(frame, dict):
            return
        if frame.get("error"):
            said = json.dumps(frame)
            why = f"{self._settings.root} failed while answering{self._quoted(said)}"
            raise _TooLong(why, said) if is_too_long(said) else EngineError(why)
        if (read := _reading(frame)) is not None:
            yield read
        choices = frame.get("choices")
        if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
            return
        progress.finished |= bool(choices[0].get("finish_reason"))
        delta = choices[0].get("delta") or choices[0].get("message") or {}
        if not isinstance(delta, dict):
            return
        _gather(delta.get("tool_calls"), progress)
        content = delta.get("content")
        if isinstance(content, str) and content:
            yield content

    def _refused(self, response: httpx.Response, body: str) -> str:
        after = response.headers.get("retry-after", "")
        return self._advice(response.status_code, after) + self._quoted(body)

    def _advice(self, status: int, retry_after: str) -> str:
        root, model = self._settings.root, self._settings.model
        seconds = _seconds(retry_after)
        wait = f"; it asks to wait {seconds:.0f} s" if seconds else ""
        known = {
            401: f"{root} wants another API key; set LLM_API_KEY (LLM_API_KEY_2 … of a fallback)",
            403: f"{root} forbids this with the API key; use one that may",
            404: f"{root} has no chat endpoint or no model {model!r}; correct the url or the model",
            429: f"{root} has had too many requests; lower the load or raise the quota{wait}",
            503: f"{root} is not ready (loading its model?); wait until /health says 200{wait}",
        }
        if status in known:
            return known[status]
        if status >= 500:
            return f"{root} failed with HTTP {status}; look at its log"
        return f"{root} refused the request with HTTP {status}; correct the settings"

    def _quoted(self, body: str) -> str:
        """What the server said, short, and never with the key in it."""
        try:
            said = json.loads(body)
            said = said.get("error", said) if isinstance(said, dict) else said
            said = said.get("message", said) if isinstance(said, dict) else said
        except ValueError:
            said = body
        text = " ".join(str(said).split())
        if self._key:
            text = text.replace(self._key, "***")
        return f': "{text[:_TOO_LONG]}"' if text else ""

    def _unreachable(self, error: httpx.HTTPError) -> str:
        kind = type(error).__name__
        return f"{self._settings.root} cannot be reached ({kind}); start it or correct the url"

    def _broken(self, error: httpx.HTTPError) -> str:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return self._unreachable(error)
        kind = type(error).__name__
        return f"{self._settings.root} broke the connection off ({kind}); look at its log"

    def _late(self, progress: _Progress) -> str:
        settings = self._settings
        first = progress.waiting_for == "first"
        name = "first_token_s" if first else "between_tokens_s"
        seconds = settings.first_token_s if first else settings.between_tokens_s
        return (
            f"{settings.root} sent no {progress.waiting_for} text within {seconds:g} s; "
            f"relieve it or raise {name}"
        )


def _as_json(message: Message) -> dict[str, Any]:
    """As such servers want it."""
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.answers, "content": message.content}
    entry: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        entry["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    return entry


def _gather(pieces: object, progress: _Progress) -> None:
    """A call of a tool comes in pieces; those of one index belong together."""
    for number, piece in enumerate(pieces if isinstance(pieces, list) else []):
        if not isinstance(piece, dict):
            continue
        index = piece.get("index")
        known = progress.calls.setdefault(index if isinstance(index, int) else number, ["", "", ""])
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        known[0] = known[0] or str(piece.get("id") or "")
        known[1] = known[1] or str(function.get("name") or "")
        known[2] += str(function.get("arguments") or "")


def _reading(frame: Mapping[str, Any]) -> Reading | None:
    """llama-server's `prompt_progress`."""
    told = frame.get("prompt_progress")
    if not isinstance(told, dict):
        return None
    processed, total, cached = (told.get(name, 0) for name in ("processed", "total", "cache"))
    numbers = all(isinstance(each, int) for each in (processed, total, cached))
    return Reading(processed, total, cached) if numbers else None


def _total_slots(answer: httpx.Response) -> int:
    """0 for servers that have no such thing."""
    try:
        slots = answer.json()["total_slots"] if answer.status_code == 200 else 0
    except (ValueError, KeyError, TypeError):
        return 0
    return slots if isinstance(slots, int) else 0


def _seconds(retry_after: str) -> float:
    """A Retry-After as RFC 9110 (10.2.3) has it, seconds or a date; 0 when there is none."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _on_this_box(root: str) -> bool:
    """No proxy stands between this box and itself. Raises EngineError for what is no address."""
    try:
        url = httpx.URL(root)
    except httpx.InvalidURL as error:
        raise EngineError(f"{root} is no address ({error}); correct the url") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise EngineError(f"{root!r} is no address; the url begins with http:// or https://")
    return url.host in ("localhost", "127.0.0.1", "::1")


async def _events(response: httpx.Response, progress: _Progress) -> AsyncGenerator[str, None]:
    """The data of each event until the stream ends. Raises TimeoutError past the deadline."""
    if response.headers.get("content-type", "").startswith("application/json"):
        async with asyncio.timeout_at(progress.deadline):
            yield (await response.aread()).decode(errors="replace")  # it does not stream
        return
    decoder = SseDecoder()
    async with aclosing(response.aiter_bytes()) as received:  # type: ignore[type-var]
        while True:
            async with asyncio.timeout_at(progress.deadline):
                piece = await anext(received, None)
            for event in decoder.end() if piece is None else decoder.push(piece):
                yield event
            if piece is None:
                return
