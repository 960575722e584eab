"""In come [llama] and [llm] of fleet.toml, out goes llama-server as a child; or, on its port, why not.

What keeps it from starting is answered to whoever asks, with HTTP 503, so that llm is not ready and says
why; it is tried again. A llama-server that dies later ends this process too, and supervisord starts anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from bus.errors import BargeinError, SettingsError
from bus.sections import Llama
from bus.settings import load
from engines.llama_command import command, trouble
from engines.protocols import EngineError
from ops.fleet_checks import llama_is_asked

POLL_S = 0.1
AGAIN_S = 2.0
LONGEST_S = 60.0
STOP_S = 3.0
TAIL_LINES = 40
PR_SET_PDEATHSIG = 1
_CAUSE = re.compile(r"error|fail|invalid|unable|cannot|unknown", re.IGNORECASE)
_libc = ctypes.CDLL(None)


def main() -> int:
    """Serve until SIGTERM; idle, without the port, when no endpoint leads here."""
    try:
        settings = load()
        if llama_is_asked(settings):
            return asyncio.run(attend(settings.llama, settings.home))
        print(f"llama: idle, llm.url is {settings.llm.url}", flush=True)
        os.execvp("sleep", ("sleep", "infinity"))  # 2 MB until SIGTERM, where Python would hold 37
    except BargeinError as error:
        print(f"llama: {error}", file=sys.stderr)
        return error.exit_code
    return 0


async def attend(llama: Llama, root: Path) -> int:
    """Until SIGTERM (0), or until a llama-server that was ready has died (1)."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    pause_s = AGAIN_S
    while not stop.is_set():
        if not (why := trouble(llama, root)):
            try:
                async with child(command(llama, root)) as server:
                    await _until(stop, server.ready(llama.host, llama.port))
                    if not stop.is_set():
                        print("llama: ready", flush=True)
                        await _until(stop, server.process.wait())
                    return 0 if stop.is_set() else 1
            except EngineError as error:
                why = str(error)
        if not stop.is_set():
            print(f"llama: {why}; tried again in {pause_s:g} s", flush=True)
            async with excused(llama.host, llama.port, why):
                await _until(stop, asyncio.sleep(pause_s))
            pause_s = min(LONGEST_S, 2 * pause_s)
    return 0


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, Any]) -> None:
    """Let `work` be done, unless `stop` comes first; its exceptions are ours."""
    doing = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
    for task in (stopping, doing):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Child:
    """A llama-server we have started; what it prints goes to our own output, unless `quiet`."""

    def __init__(self, process: asyncio.subprocess.Process, quiet: bool = False) -> None:
        self.process, self._quiet = process, quiet
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip()
            self._tail.append(text)
            if not self._quiet:
                print(text, flush=True)

    async def ready(self, host: str, port: int) -> None:
        """Return as soon as its health is 200. Raises EngineError, in its own words, if it ends before."""
        async with httpx.AsyncClient(trust_env=False) as client:
            while self.process.returncode is None:
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.get(f"http://{host}:{port}/health", timeout=1.0)
                    if answer.status_code == 200:
                        return
                await asyncio.sleep(POLL_S)
        await self._reading
        raise EngineError(f"llama-server can't start: {self.cause}")

    @property
    def cause(self) -> str:
        """The first line that looks like a reason, else the last one, without its time stamp."""
        said = [line for line in self._tail if line.strip()]
        line = next(filter(_CAUSE.search, said), said[-1] if said else "it printed nothing")
        return f"{line[:200]} (exit code {self.process.returncode}; see var/log/llama.log)"

    async def end(self) -> None:
        """Gone when this returns."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(STOP_S):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
        await self.process.wait()
        await self._reading


@asynccontextmanager
async def child(arguments: Sequence[str], quiet: bool = False) -> AsyncGenerator[Child, None]:
    """A process that does not outlive us, however we end. Raises EngineError when it can't be run."""
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        )
    except OSError as error:
        raise EngineError(
            f"llama.server: {arguments[0]} can't be run ({error.strerror}); correct it, or run "
            "`make engine-llama`"
        ) from None
    running = Child(process, quiet)
    try:
        yield running
    finally:
        await running.end()


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@asynccontextmanager
async def excused(host: str, port: int, why: str) -> AsyncGenerator[None, None]:
    """Meanwhile: 503 and the reason, in the words of such servers, to whoever asks anything."""
    body = json.dumps(
        {"error": {"code": 503, "message": why, "type": "unavailable_error"}}
    ).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            asked = await reader.readuntil(b"\r\n\r\n")
            if length := re.search(rb"(?i)content-length: *(\d+)", asked):
                await reader.readexactly(int(length[1]))  # unread, it would reset the connection
            writer.write(head.encode() + body)
            await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(refuse, host, port)
    except OSError as error:
        raise SettingsError(
            f"can't listen on {host}:{port} ({error.strerror}); change llama.port and llm.url in "
            "config/fleet.toml, then `bargein restart llama`"
        ) from None
    try:
        yield
    finally:
        server.close()


if __name__ == "__main__":
    sys.exit(main())
