"""A conversation comes in, the text of any OpenAI-compatible chat server goes out as it is written.

Closing the stream closes the connection: to these servers a disconnect is the cancel. Each request
has a connection of its own, since llama-server closes it behind each stream without saying so
(15 of 150 requests failed on a kept one, 0 of 150 so).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx

from engines.protocols import EngineError

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
    one text to the next (pings and progress reports count for neither).
    """

    url: str
    model: str = "default"
    connect_s: float = 2.0
    first_token_s: float = 10.0
    between_tokens_s: float = 5.0
    extra: Mapping[str, Any] = field(default_factory=_progress)

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


@dataclass
class _Progress:
    """Of one stream: is it complete, and until when must the next text be here (loop time)?"""

    deadline: float
    waiting_for: str = "first"
    finished: bool = False
    done: bool = False


class OpenAiChat:
    """A client of /v1/chat/completions. `reason` says why `healthy` was last false."""

    def __init__(self, settings: ChatSettings, api_key: str = "") -> None:
        self._settings = settings
        self._key = api_key.strip()
        self._extra = dict(settings.extra)
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

    async def healthy(self) -> bool:
        """Ask /health, or /v1/models where there is none; see `reason` when False."""
        try:
            async with asyncio.timeout(self._settings.connect_s):
                status = await self._status("/health")
                if status in (404, 405):
                    status = await self._status("/v1/models")
        except TimeoutError:
            self.reason = f"{self._settings.root} does not answer; restart the model server"
        except httpx.HTTPError as error:
            self.reason = self._unreachable(error)
        else:
            self.reason = "" if status == 200 else self._advice(status, "")
        return not self.reason

    async def _status(self, path: str) -> int:
        return (await self._client.get(self._settings.root + path)).status_code

    async def stream(self, messages: Sequence[tuple[str, str]]) -> AsyncGenerator[str, None]:
        """Answer (role, content) messages: pieces of text as they come. Closing it cancels.

        Raises EngineError, after yielding what came, when the server refuses, stalls, breaks off
        or reports an error.
        """
        seconds = self._settings.first_token_s
        progress = _Progress(asyncio.get_running_loop().time() + seconds)
        try:
            response = await self._open(messages, progress)
            try:
                async with aclosing(self._deltas(response, progress)) as deltas:
                    async for delta in deltas:
                        yield delta
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise EngineError(self._broken(error)) from error
        except TimeoutError as error:
            raise EngineError(self._late(progress)) from error

    async def close(self) -> None:
        """Close the client; streams still open end."""
        await self._client.aclose()

    async def _open(
        self, messages: Sequence[tuple[str, str]], progress: _Progress
    ) -> httpx.Response:
        """The response, its status 200. A 400 naming an extra field is asked again without it."""
        while True:
            async with asyncio.timeout_at(progress.deadline):
                response = await self._client.send(self._request(messages), stream=True)
                if response.status_code == 200:
                    return response
                try:
                    refusal = (await response.aread()).decode(errors="replace")
                finally:
                    await response.aclose()
            refused = [name for name in self._extra if name in refusal]
            if response.status_code not in (400, 422) or not refused:
                raise EngineError(self._refused(response, refusal))
            for name in refused:
                del self._extra[name]

    def _request(self, messages: Sequence[tuple[str, str]]) -> httpx.Request:
        said = [{"role": role, "content": content} for role, content in messages]
        body = {**self._extra, "model": self._settings.model, "messages": said, "stream": True}
        url = f"{self._settings.root}/v1/chat/completions"
        return self._client.build_request("POST", url, json=body)

    async def _deltas(
        self, response: httpx.Response, progress: _Progress
    ) -> AsyncGenerator[str, None]:
        loop = asyncio.get_running_loop()
        async with aclosing(_events(response, progress)) as events:
            async for event in events:
                if text := self._text(event, progress):
                    yield text
                    progress.waiting_for = "next"
                    progress.deadline = loop.time() + self._settings.between_tokens_s
                if progress.done:
                    return
        if not progress.finished:
            raise EngineError(
                f"{self._settings.root} broke off in the middle of an answer; look at its log"
            )

    def _text(self, event: str, progress: _Progress) -> str:
        """The text in one event, "" when it holds none. Raises EngineError."""
        if event.strip() == "[DONE]":
            progress.done = progress.finished = True
            return ""
        try:
            frame = json.loads(event)
        except ValueError as error:
            message = f"{self._settings.root} sends what is not JSON; is it a chat server?"
            raise EngineError(message) from error
        if not isinstance(frame, dict):
            return ""
        if frame.get("error"):
            said = self._quoted(json.dumps(frame))
            raise EngineError(f"{self._settings.root} failed while answering{said}")
        choices = frame.get("choices")
        if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
            return ""  # usage, progress, ping
        progress.finished |= bool(choices[0].get("finish_reason"))
        delta = choices[0].get("delta") or choices[0].get("message") or {}
        content = delta.get("content") if isinstance(delta, dict) else None
        return content if isinstance(content, str) else ""

    def _refused(self, response: httpx.Response, body: str) -> str:
        after = response.headers.get("retry-after", "")
        return self._advice(response.status_code, after) + self._quoted(body)

    def _advice(self, status: int, retry_after: str) -> str:
        root, model = self._settings.root, self._settings.model
        wait = f"; it asks to wait {retry_after[:40]} s" if retry_after else ""
        known = {
            401: f"{root} wants another API key; set the right one in secrets.env",
            403: f"{root} forbids this with the API key; use one that may",
            404: f"{root} has no chat endpoint or no model {model!r}; correct the url or the model",
            429: f"{root} has had too many requests; lower the load or raise the quota{wait}",
            503: f"{root} is loading its model or overloaded; wait until /health says 200{wait}",
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
