"""A recogniser in processes of its own as an SttEngine: caller PCM in, partials and finals out.

A decoder fills a core, may hold the GIL, and can die. So each session has a process: calls never
wait for one another, and a crash is one call's. One child more is kept warm: a session gets it at
once. Sound fed to a child that is still loading waits in its socket. So an idle engine costs one child.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path

from engines import decoder_wire as wire
from engines.protocols import EngineError, Hypothesis

BYTES_PER_MS = 2 * wire.SAMPLES_PER_MS
PARTIAL_MS = 100
PACKET_BYTES = 200 * BYTES_PER_MS


@dataclass(frozen=True)
class Decoder:
    """What runs in the child: its `name` for messages, and the module that is run.

    `check` raises EngineError, which says what to do, where something it needs is not installed.
    `looks_again`: whether it makes a second look at an utterance.
    """

    name: str
    module: str
    looks_again: bool = False
    check: Callable[[], object] = lambda: None


class ProcessEngine:
    """SttEngine whose sessions have a decoder process each."""

    def __init__(self, decoder: Decoder, partial_ms: int = PARTIAL_MS) -> None:
        """`partial_ms`: milliseconds of sound between two looks for new partial text."""
        self._decoder, self._partial_ms = decoder, partial_ms
        self._over = f"the {decoder.name} engine is closed: make a new one"
        self._children: set[_Child] = set()
        self._spare: _Child | None = None
        self._guard = asyncio.Lock()
        self._refills: set[asyncio.Task[None]] = set()
        self._closed = False

    async def load(self) -> None:
        """Return when a warm child has its model loaded; start one where there is none.

        Raises EngineError when something is not installed, when the child dies before that, after `close`.
        """
        self._decoder.check()
        await self._refill()
        if self._spare is None:
            raise EngineError(self._over)
        await self._spare.loaded()

    async def open(self) -> ProcessSession:
        """A session on the warm child; its successor is started, not waited for.

        Raises EngineError after `close`.
        """
        async with self._guard:
            if self._closed:
                raise EngineError(self._over)
            child, self._spare = self._spare, None
            if child is None or child.dead:
                child = await self._start()
            with contextlib.suppress(EngineError):  # the next open() says so, if it is still true
                self._spare = await self._start()
        return ProcessSession(child, self._decoder.looks_again)

    async def close(self) -> None:
        """End every child, also those of sessions still open, and wait until they are gone."""
        async with self._guard:
            self._closed = True
            self._spare = None
        await asyncio.gather(*(child.stop() for child in tuple(self._children)), *self._refills)

    async def _start(self) -> _Child:
        child = await _Child.start(self._decoder, self._partial_ms)
        self._children.add(child)
        child.pump.add_done_callback(lambda _: self._gone(child))
        return child

    def _gone(self, child: _Child) -> None:
        """Replace a warm child that was killed; one that never loaded would only die again."""
        self._children.discard(child)
        if child is self._spare and child.ready.is_set():
            refill = asyncio.ensure_future(self._refill())
            self._refills.add(refill)
            refill.add_done_callback(self._refills.discard)

    async def _refill(self) -> None:
        async with self._guard:
            if not self._closed and (self._spare is None or self._spare.dead):
                self._spare = await self._start()


class ProcessSession:
    """SttSession of one call and channel; `results` has one reader."""

    def __init__(self, child: _Child, looks_again: bool) -> None:
        self._child, self._looks_again = child, looks_again
        self._fed = 0
        self._open: int | None = None

    @property
    def backlog_ms(self) -> float:
        """Milliseconds of sound fed that the decoder has not worked on yet.

        Nothing bounds it but the owner: it grows while the child lags (or loads) and is fed.
        """
        return (self._fed - self._child.heard) / BYTES_PER_MS

    @property
    def pid(self) -> int:
        """Process id of the decoder."""
        return self._child.pid

    @property
    def worked_on(self) -> int | None:
        """Samples the decoder has worked on; None while it loads its model."""
        return self._child.heard // 2 if self._child.ready.is_set() else None

    @property
    def runs(self) -> bool:
        """Whether the decoder is on a core or waits for one; a stopped or deadlocked one does neither."""
        return _is_runnable(self._child.pid)

    @property
    def dead(self) -> str:
        """Why the decoder is no more; empty while it lives."""
        return str(self._child.obituary()) if self._child.dead else ""

    def begin(self, utterance: int, first: int) -> None:
        """Start an utterance whose sound begins at sample `first` of the call (16 kHz).

        Raises EngineError while another utterance is open.
        """
        if self._open is not None:
            raise EngineError(f"finish utterance {self._open} before beginning {utterance}")
        self._open = utterance
        self._child.send(wire.Begin(utterance, first))

    def feed(self, pcm: bytes) -> None:
        """Queue mono int16 PCM at 16 kHz, any length. Raises EngineError outside an utterance."""
        self._require_open()
        self._fed += len(pcm)
        for at in range(0, len(pcm), PACKET_BYTES):  # it tells how far it is after each
            self._child.send(wire.Pcm(pcm[at : at + PACKET_BYTES]))

    def finish(self) -> None:
        """Ask for the final of the open utterance. Raises EngineError when there is none."""
        self._require_open()
        self._open = None
        self._child.send(wire.Finish())

    def settle(self) -> None:
        """Ask what the final would be if the open utterance ended here. Raises EngineError outside one."""
        self._require_open()
        self._child.send(wire.Settle())

    def resume(self) -> None:
        """The utterance goes on after a `settle`. Raises EngineError outside one."""
        self._require_open()
        self._child.send(wire.Resume())

    def look_again(self) -> bool:
        """Ask for a second look at the utterance finished last; False: it makes none."""
        if self._looks_again:
            self._child.send(wire.Again())
        return self._looks_again

    async def results(self) -> AsyncGenerator[Hypothesis, None]:
        """Partials and finals as they come; ends after `close`.

        Raises EngineError when the decoder died: words after the last final are lost to this
        session, so open another one and feed it from there.
        """
        while (hypothesis := await self._child.said.get()) is not None:
            yield hypothesis
        self._child.said.put_nowait(None)  # for whoever asks again
        if not self._child.stopped:
            raise self._child.obituary()

    async def close(self) -> None:
        """End the decoder, whatever it is doing, and wait until it is gone."""
        await self._child.stop()

    def _require_open(self) -> None:
        if self._open is None:
            raise EngineError("no utterance is open: begin() one before feed() or finish()")


def _is_runnable(pid: int) -> bool:
    """What Linux says of a process; elsewhere nothing is said."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state == b"R"


async def alone(decoder: Decoder, partial_ms: int) -> ProcessSession:
    """A session with a decoder of its own that nothing keeps warm; for work that may wait."""
    return ProcessSession(await _Child.start(decoder, partial_ms), decoder.looks_again)


class _Child:
    """A decoder process and our end of its socket."""

    def __init__(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._name, self._process = name, process
        self._reader, self._writer = reader, writer
        self.said: asyncio.Queue[Hypothesis | None] = asyncio.Queue()
        self.ready = asyncio.Event()
        self.heard = 0
        self.stopped = False
        self.pump = asyncio.ensure_future(self._pump())

    @classmethod
    async def start(cls, decoder: Decoder, partial_ms: int) -> _Child:
        """Start a process; it may be written to at once. Raises EngineError when there is none."""
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            try:
                process = _spawn(theirs, decoder.module, partial_ms)
            except OSError as error:
                writer.transport.abort()
                raise EngineError(f"cannot start {decoder.name}, check memory: {error}") from error
        return cls(decoder.name, process, reader, writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def dead(self) -> bool:
        buried = self.stopped or self._writer.is_closing()
        return buried or self._process.poll() is not None

    def send(self, message: wire.Order) -> None:
        """Queue a message; nothing happens when the process is gone (results() tells)."""
        if not self._writer.is_closing():
            self._writer.write(wire.pack(message))

    async def loaded(self) -> None:
        """Return when the model is loaded. Raises EngineError when the process died first."""
        ready = asyncio.ensure_future(self.ready.wait())
        try:
            await asyncio.wait((ready, self.pump), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if not self.ready.is_set():
            raise self.obituary()

    async def stop(self) -> None:
        """Kill the process and wait until it is gone. May be called again."""
        self.stopped = True
        self._process.kill()
        await asyncio.shield(self.pump)

    def obituary(self) -> EngineError:
        what = f"{self._name} process {self.pid} died (exit {self._process.returncode})"
        if not self.ready.is_set():
            return EngineError(f"{what} before it had loaded: read its stderr, check memory")
        return EngineError(f"{what}: open a new session and feed it from the last final on")

    async def _pump(self) -> None:
        """Take in reports until the process ends, then bury it."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self._note(await self._report())
        self._writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        await asyncio.to_thread(self._process.wait)
        self.said.put_nowait(None)

    async def _report(self) -> wire.Report:
        size = int.from_bytes(await self._reader.readexactly(wire.HEADER), "big")
        return wire.REPORTS.decode(await self._reader.readexactly(size))

    def _note(self, report: wire.Report) -> None:
        match report:
            case wire.Ready():
                self.ready.set()
            case wire.Heard(total):
                self.heard = total
            case wire.Said(hypothesis):
                self.said.put_nowait(hypothesis)


def _spawn(line: socket.socket, module: str, partial_ms: int) -> subprocess.Popen[bytes]:
    """Start a child on `line`, in the loop's own thread: the kernel kills it when that one ends."""
    command = [sys.executable, "-P", "-m", module, str(partial_ms)]
    return subprocess.Popen(command, stdin=line.fileno(), stdout=subprocess.DEVNULL)
