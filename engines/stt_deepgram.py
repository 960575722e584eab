"""Deepgram as an SttEngine: utterances of caller PCM go out on a websocket, partials and finals come in.

A session is one connection. Whatever ends it (a close code, a lost network, a message that is none) is kept
in `dead`, and its owner opens another. An engine that can't be reached when the actor starts does not keep
it from starting, a key that is refused does: only a person can help there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from engines import deepgram_wire as wire
from engines.deepgram_wire import Ledger
from engines.protocols import EngineError, Hypothesis

log = structlog.get_logger()
DEAF_S = 10.0
"""Seconds between two websocket pings, and until the answer to one is late: a lost network."""
CLOSE_S = 0.5
LONGEST_REASON = 300
"""Characters of a server's own words that are worth repeating."""
CLOSED = "the Deepgram engine is closed: make a new one"
KEY = "set DEEPGRAM_API_KEY to a key of the project in the Deepgram console"


@dataclass(frozen=True)
class DeepgramSettings:
    """`url`: ws:// or wss:// address of /v1/listen. Seconds: see config/fleet.toml, [deepgram]."""

    url: str = "wss://api.deepgram.com/v1/listen"
    model: str = "nova-3"
    language: str = "en"
    diarize: bool = False
    connect_s: float = 5.0
    keep_alive_s: float = 4.0
    finalize_wait_s: float = 1.0

    @property
    def live_url(self) -> str:
        return wire.live_url(self.url, self.model, self.language, self.diarize)

    @property
    def batch_url(self) -> str:
        return wire.batch_url(self.url, self.model, self.language, self.diarize)


class KeyRefused(EngineError):
    """No retry helps: the key is wrong, or its project may not do this."""


class DeepgramEngine:
    """SttEngine of a remote service: a session is a connection."""

    def __init__(self, settings: DeepgramSettings, key: str) -> None:
        """`key` goes into one header of the handshake, and nowhere else."""
        self._settings, self._key = settings, key
        self._sessions: set[DeepgramSession] = set()
        self._closed = False

    async def load(self) -> None:
        """Try the key on a connection. Raises EngineError when there is none or it is refused."""
        if not self._key:
            raise KeyRefused(f"no Deepgram key: {KEY}")
        try:
            session = await self.open()
        except KeyRefused:
            raise
        except EngineError as error:
            log.warning("Deepgram can't be reached now; calls will try again", why=str(error))
        else:
            await session.close()

    async def open(self) -> DeepgramSession:
        """A connection of its own. Raises EngineError, saying why there is none."""
        if self._closed:
            raise EngineError(CLOSED)
        session = DeepgramSession(await self._connected(), self._settings, self._key)
        self._sessions.add(session)
        session.pump.add_done_callback(lambda _: self._sessions.discard(session))
        return session

    async def close(self) -> None:
        """End every session still open."""
        self._closed = True
        await asyncio.gather(*(session.close() for session in tuple(self._sessions)))

    async def _connected(self) -> ClientConnection:
        settings = self._settings
        try:
            return await connect(
                settings.live_url,
                additional_headers={"Authorization": f"Token {self._key}"},
                open_timeout=settings.connect_s,
                close_timeout=CLOSE_S,
                ping_interval=DEAF_S,
                ping_timeout=DEAF_S,
                compression=None,
                logger=_quiet(),
            )
        except InvalidStatus as error:
            raise refused(error.response.status_code, _reason(error, self._key)) from None
        except InvalidURI:
            raise EngineError(
                f"{settings.url!r} is no websocket address: mend deepgram.url"
            ) from None
        except (OSError, InvalidHandshake, TimeoutError, EOFError) as error:
            what = str(error) or f"no answer within {settings.connect_s:g} s"
            raise EngineError(f"Deepgram can't be reached at {settings.url}: {what}") from None


class DeepgramSession:
    """SttSession of one call and channel; `results` has one reader."""

    def __init__(self, socket: ClientConnection, settings: DeepgramSettings, key: str = "") -> None:
        """`key` is not told, should the server tell it."""
        self._socket, self._settings, self._key = socket, settings, key
        self._ledger = Ledger()
        self._said: asyncio.Queue[Hypothesis | None] = asyncio.Queue()
        self._out: deque[str | bytes] = deque()
        self._more = asyncio.Event()
        self._patience: dict[int, asyncio.TimerHandle] = {}
        self._closing = False
        self._why = ""
        self._writer = asyncio.ensure_future(self._write())
        self.pump = asyncio.ensure_future(self._read())

    @property
    def dead(self) -> str:
        """Why the session is over; empty while it lives."""
        return self._why

    @property
    def worked_on(self) -> int:
        """Samples that the server's results reach to."""
        return self._ledger.worked_on

    @property
    def backlog_ms(self) -> float:
        """Milliseconds of sound fed that the socket has not taken yet."""
        waiting = sum(len(one) for one in self._out if isinstance(one, bytes))
        return waiting / (2 * wire.RATE / 1000)

    def begin(self, utterance: int, first: int) -> None:
        """Start an utterance whose sound begins at sample `first` of the call (16 kHz)."""
        if self._ledger.open:
            raise EngineError(f"finish the open utterance before beginning {utterance}")
        self._ledger.begin(utterance, first)

    def feed(self, pcm: bytes) -> None:
        """Queue mono int16 PCM at 16 kHz, any length. Raises EngineError outside an utterance."""
        self._require_open()
        if pcm:  # an empty message would end the stream
            self._ledger.fed(len(pcm) // 2)
            self._send(pcm)

    def finish(self) -> None:
        """Ask for the final of the open utterance. Raises EngineError when there is none."""
        self._require_open()
        number = self._ledger.newest
        finals = self._ledger.finish()
        self._tell(finals)
        if self._ledger.owed:
            self._send(wire.FINALIZE)
            self._wait_for_final(number)

    def settle(self) -> None:
        """Ask what the final would be if the open utterance ended here."""
        self._require_open()
        self._ledger.settle()
        self._send(wire.FINALIZE)

    def resume(self) -> None:
        """The utterance goes on after a `settle`."""
        self._require_open()
        self._ledger.resume()

    async def results(self) -> AsyncGenerator[Hypothesis, None]:
        """Partials and finals as they come; ends after `close`. Raises EngineError when it died."""
        while (hypothesis := await self._said.get()) is not None:
            yield hypothesis
        self._said.put_nowait(None)  # for whoever asks again
        if not self._closing:
            raise EngineError(self._why)

    async def close(self) -> None:
        """End the connection, and wait until it is closed. May be called again."""
        self._closing = True
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._socket.send(wire.CLOSE_STREAM)
        await self._socket.close()
        await asyncio.shield(self.pump)

    # -- the socket ------------------------------------------------------------------------------

    def _send(self, message: str | bytes) -> None:
        self._out.append(message)
        self._more.set()

    async def _write(self) -> None:
        """All that is queued, in order; KeepAlive when there has been nothing for a while."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                try:
                    async with asyncio.timeout(self._settings.keep_alive_s):
                        await self._more.wait()
                except TimeoutError:
                    await self._socket.send(wire.KEEP_ALIVE)
                self._more.clear()
                while self._out:
                    await self._socket.send(self._out[0])
                    self._out.popleft()

    async def _read(self) -> None:
        """Until the connection is over, and why is known."""
        try:
            async for message in self._socket:
                if (results := wire.decode(message)) and results.channel_index[0] == 0:
                    self._tell(self._ledger.take(results))
            self._end(_closed(self._socket, self._key))
        except ConnectionClosed:
            self._end(_closed(self._socket, self._key))
        except EngineError as error:
            self._end(str(error))
            await self._socket.close()
        finally:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer

    def _end(self, why: str) -> None:
        self._why = self._why or why
        for one in self._patience.values():
            one.cancel()
        if not self._closing:
            log.warning("Deepgram session over", why=self._why, owed=self._ledger.owed)
        self._said.put_nowait(None)

    # -- words -----------------------------------------------------------------------------------

    def _tell(self, said: list[Hypothesis]) -> None:
        for hypothesis in said:
            if hypothesis.final and (waiting := self._patience.pop(hypothesis.utterance, None)):
                waiting.cancel()
            self._said.put_nowait(hypothesis)

    def _wait_for_final(self, utterance: int) -> None:
        """`Finalize` is not always answered; nothing new within this time is the answer then."""
        wait_s, loop = self._settings.finalize_wait_s, asyncio.get_running_loop()
        self._patience[utterance] = loop.call_later(
            wait_s, self._give_up, utterance, self._ledger.worked_on
        )

    def _give_up(self, utterance: int, worked_on: int) -> None:
        """Not while results still come: then the network is slow, not the answer missing."""
        del self._patience[utterance]
        if self._ledger.worked_on > worked_on or self._out:
            self._wait_for_final(utterance)
        elif (lacks := self._ledger.lacks(utterance)) > wire.NOTICEABLE:
            self._why = f"Deepgram left Finalize and {lacks / wire.RATE:.1f} s of sound unanswered"
            self._socket.transport.abort()
        else:
            self._tell(self._ledger.give_up(utterance))

    def _require_open(self) -> None:
        if self._why:
            raise EngineError(self._why)
        if not self._ledger.open:
            raise EngineError("no utterance is open: begin() one before feed() or finish()")


def _quiet() -> logging.Logger:
    """The library writes the headers it sends, and the key with them, at level DEBUG."""
    logger = logging.getLogger("engines.deepgram.websocket")
    logger.setLevel(logging.INFO)
    return logger


def clean(said: str, key: str) -> str:
    """A server's own words, short, and never with the key in them."""
    return (said.replace(key, "***") if key else said).strip()[:LONGEST_REASON]


def _reason(error: InvalidStatus, key: str) -> str:
    told = error.response.headers.get("dg-error") or (error.response.body or b"").decode(
        "utf-8", "replace"
    )
    return clean(told, key)


def refused(status: int, reason: str) -> EngineError:
    """What to do about an HTTP status that is no success."""
    told = f" ({reason})" if reason else ""
    if status in (401, 403):
        return KeyRefused(f"Deepgram refused the key with HTTP {status}{told}: {KEY}")
    if status == 402:
        return EngineError(
            f"Deepgram wants to be paid (HTTP 402{told}): top up the project's credit"
        )
    if status == 429:
        return EngineError(
            f"Deepgram has too many requests of this project (HTTP 429{told}): fewer calls"
        )
    if status >= 500:
        return EngineError(f"Deepgram failed with HTTP {status}{told}: it is tried again")
    return EngineError(
        f"Deepgram answered HTTP {status}{told}: check [deepgram] in config/fleet.toml"
    )


def _closed(socket: ClientConnection, key: str) -> str:
    """Why a connection ended, its close code included."""
    code, reason = socket.close_code, clean(socket.close_reason or "", key)
    if code in (None, 1006):
        return (
            "Deepgram's connection broke off without a close code: the network, or the server died"
        )
    return f"Deepgram closed the connection with code {code}{f' ({reason})' if reason else ''}"
