"""A server of Deepgram's protocol: live sound on a websocket, recorded sound by POST, real words in return.

What it understands is up to `hears`; by default the language of `voice`: 100 ms of one sample value a word,
below zero if the second speaker says it.
`Faults` say how it misbehaves; they may be changed while it serves.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import wave
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from itertools import pairwise
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as Handshake
from websockets.http11 import Response as Refusal

from engines.batch_deepgram import DeepgramBatch
from engines.responder.server import serving
from engines.stt_deepgram import DeepgramSettings

RATE = 16_000
WORD, GAP = RATE // 10, RATE // 20
VOCABULARY = ("stop", "what", "is", "seven", "plus", "five", "hello", "world", "and", "then")
Word = tuple[str, float, float]
Hears = Callable[[bytes], Awaitable[list[Word]]]
KEY = "dg-very-secret"
TALK = ((1, "hello world"), (0, "stop"), (1, "and then"))
"""What two people say, and which of them."""
WHOSE = [(word, str(speaker)) for speaker, text in TALK for word in text.split()]


def voice(text: str, speaker: int = 0) -> bytes:
    """Sound of which `read` makes the text again: 150 ms a word. `speaker`: 0 or 1."""
    sign = -1 if speaker else 1
    sound = [
        np.r_[np.full(WORD, sign * 100 * (VOCABULARY.index(w) + 1)), np.zeros(GAP)]
        for w in text.split()
    ]
    return np.concatenate([*sound, np.zeros(0)]).astype("<i2").tobytes()


async def read(pcm: bytes) -> list[Word]:
    """Words and their seconds; half of a word is enough."""
    sound = np.frombuffer(pcm, "<i2")
    edges = np.flatnonzero(np.diff(sound, prepend=0, append=0))
    words: list[Word] = []
    for start, end in pairwise(edges):
        value = abs(int(sound[start]))
        if value and end - start >= WORD // 2:
            words.append((VOCABULARY[value // 100 - 1], start / RATE, end / RATE))
    return words


def spelt(words: list[Word], pcm: bytes, speakers: bool, start: float = 0.0) -> dict[str, Any]:
    """An alternative of the protocol; `pcm`, in which the words lie, begins at second `start`."""
    sound = np.frombuffer(pcm, "<i2")
    made = []
    for word, a, b in words:
        told = {"word": word, "start": start + a, "end": start + b, "confidence": 0.9}
        whose = int(sound[round((a + b) / 2 * RATE)] < 0)
        made.append(told | {"speaker": whose} if speakers else told)
    return {
        "transcript": " ".join(word for word, _, _ in words),
        "confidence": 0.9,
        "words": made,
    }


@dataclass
class Faults:
    """All off. `refuse`: HTTP status. `close_code`: sent after `close_after` bytes, 0 for a reset.

    `says`: the reason it gives for either.
    """

    refuse: int = 0
    says: str = ""
    close_code: int | None = None
    close_after: int = 0
    stall: bool = False
    deaf_to_finalize: bool = False
    garbage: bool = False
    swapped: bool = False
    late: asyncio.Event | None = None
    """Results wait for it."""


@dataclass
class DeepgramServer:
    """`orders`: the JSON messages it got. `idle_s`: without any message so long, it closes with 1011."""

    hears: Hears = read
    idle_s: float = 10.0
    speakers: bool = False
    faults: Faults = field(default_factory=Faults)
    orders: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    received: int = 0
    connections: int = 0
    url: str = ""
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for what messages and requests make true."""
        async with self._news:
            await self._news.wait_for(true)

    async def noted(self) -> None:
        """Something came in."""
        async with self._news:
            self._news.notify_all()

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[DeepgramServer]:
        """Live recognition; see `prerecorded` for the other half."""
        quiet = logging.getLogger("tests.fakes.deepgram")
        quiet.setLevel(logging.INFO)  # its DEBUG lines hold the headers, key and all
        # A full queue would keep the other side's answer to a close code back, for 10 s.
        live = partial(serve, process_request=self._handshake, logger=quiet, max_queue=None)
        async with live(self._live, "127.0.0.1", 0) as server:
            self.url = f"ws://127.0.0.1:{_port(server)}/v1/listen"
            yield self

    # -- live ------------------------------------------------------------------------------------

    def _handshake(self, connection: ServerConnection, request: Handshake) -> Refusal | None:
        self.asked.append(request.path)
        status = self.faults.refuse
        if request.headers.get("Authorization") != f"Token {KEY}":
            status = 401
        if not status:
            return None
        answer = connection.respond(HTTPStatus(status), "")
        answer.headers["dg-error"] = self.faults.says or (
            "INVALID_AUTH" if status == 401 else "not now"
        )
        return answer

    async def _live(self, socket: ServerConnection) -> None:
        self.connections += 1
        line = _Line(self, socket)
        try:
            while not await line.over():
                async with asyncio.timeout(self.idle_s):
                    await line.take(await socket.recv())
        except TimeoutError:
            await socket.close(1011, "NET-0001")
        except ConnectionClosed:
            pass


class _Line:
    """One connection: what it heard, and what of that is final."""

    def __init__(self, server: DeepgramServer, socket: ServerConnection) -> None:
        self._server, self._socket = server, socket
        self._sound = b""
        self._final_to = self._told_to = 0
        self._kept: list[str] = []
        self._closed = False

    async def over(self) -> bool:
        faults = self._server.faults
        if self._closed or faults.close_code is None or len(self._sound) < faults.close_after:
            return self._closed
        if faults.close_code == 0:
            self._socket.transport.abort()
        else:
            await self._socket.close(faults.close_code, faults.says or "as told")
        return True

    async def take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._server.received += len(message)
            self._sound += message
            await self._server.noted()
            if len(self._sound) - self._told_to >= 2 * WORD:
                await self._tell(final=False)
            return
        order = json.loads(message)["type"]
        self._server.orders.append(order)
        await self._server.noted()
        if order == "Finalize" and not self._server.faults.deaf_to_finalize:
            await self._tell(final=True, from_finalize=True)
        if order == "CloseStream":
            await self._tell(final=True)
            await self._send({"type": "Metadata", "request_id": "r", "channels": 1})
            await self._socket.close(1000)
            self._closed = True

    async def _tell(self, *, final: bool, from_finalize: bool = False) -> None:
        """Results of all sound that is not final yet."""
        sound, start = self._sound[self._final_to :], self._final_to / (2 * RATE)
        self._told_to = len(self._sound)
        if final:
            self._final_to = len(self._sound)
        words = await self._server.hears(sound)
        reading = spelt(words, sound, self._server.speakers, start)
        await self._send(
            {
                "type": "Results",
                "channel_index": [0, 1],
                "start": start,
                "duration": len(sound) / (2 * RATE),
                "is_final": final,
                "speech_final": False,
                "from_finalize": from_finalize,
                "channel": {"alternatives": [reading]},
            }
        )

    async def _send(self, message: dict[str, Any]) -> None:
        faults = self._server.faults
        if faults.stall:
            return
        if faults.late is not None:
            await faults.late.wait()
        text = "{garbage" if faults.garbage else json.dumps(message)
        self._kept.append(text)
        if faults.swapped and len(self._kept) < 2:
            return
        while self._kept:
            await self._socket.send(self._kept.pop())


def _port(server: Server) -> int:
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port


# -- pre-recorded --------------------------------------------------------------------------------


@asynccontextmanager
async def prerecorded(server: DeepgramServer) -> AsyncGenerator[str]:
    """The same server's HTTP side; its address, to be given where the live one is asked for."""

    async def listen(request: Request) -> Response:
        server.asked.append(str(request.url))
        await server.noted()
        if request.headers.get("Authorization") != f"Token {KEY}":
            return JSONResponse(
                {"err_code": "INVALID_AUTH", "err_msg": "Invalid credentials."}, 401
            )
        body = await request.body()
        faults = server.faults
        if faults.late is not None:
            await faults.late.wait()
        if faults.refuse:
            return Response(faults.says or "not now", faults.refuse)
        if faults.garbage:
            return Response("{garbage")
        with wave.open(io.BytesIO(body)) as file:
            pcm = file.readframes(file.getnframes())
        reading = spelt(await server.hears(pcm), pcm, server.speakers)
        return JSONResponse({"results": {"channels": [{"alternatives": [reading]}]}})

    app = Starlette(routes=[Route("/v1/listen", listen, methods=["POST"])])
    async with serving(app) as base:
        yield f"{base}/v1/listen"


@asynccontextmanager
async def recorded(server: DeepgramServer) -> AsyncGenerator[DeepgramBatch]:
    """The engine for recorded sound, and such a side of the server to ask."""
    async with prerecorded(server) as url:
        made = DeepgramBatch(DeepgramSettings(url=url), KEY)
        try:
            yield made
        finally:
            await made.close()
