"""`python -m actors NAME`: one actor as a process, until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from actors.build import ACTORS, AFTER
from actors.environments import move
from bus.ask import ask
from bus.endpoints import Endpoints
from bus.errors import BargeinError, NoAnswer
from bus.flags import flags_of
from bus.link import Marks
from bus.logs import configure
from bus.runtime import Runtime
from bus.settings import Settings, load
from bus.sockets import fleet_context
from engines.protocols import EngineError
from schemas import AskHealth, Health

log = structlog.get_logger()
SWITCH_INTERVAL_S = 0.0005
"""How long Python code may keep the GIL from the control thread (CPython's default is 5 ms)."""


def main(arguments: list[str]) -> int:
    """Run the named actor; 78 for what a restart can't mend."""
    if len(arguments) != 1 or arguments[0] not in ACTORS:
        print(f"usage: python -m actors NAME; names: {', '.join(ACTORS)}", file=sys.stderr)
        return 2
    name = arguments[0]
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        settings = load()
        move(name, settings, arguments)
        configure(name, settings.fleet.log_level)
        asyncio.run(run(name, settings))
    except EngineError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 78
    except BargeinError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


async def run(name: str, settings: Settings) -> None:
    """Start when those it waits for are ready, then serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    where = Endpoints(settings.run_dir)
    await asyncio.get_running_loop().run_in_executor(None, wait_for_others, name, settings, where)
    context = fleet_context()
    actor = ACTORS[name](settings, context, where)
    runtime = Runtime(
        actor,
        context,
        where,
        marks=Marks(settings.bus.events_hwm, settings.bus.media_hwm, settings.bus.max_frame_bytes),
        heartbeat_ms=settings.fleet.heartbeat_ms,
        flags=flags_of(settings, name),
        mends=EngineError,
    )
    await serve(runtime, stop, partial(started, name, settings))
    context.term()


async def serve(runtime: Runtime, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Until `stop`, which need not wait for an engine that takes long to load, or can't be."""
    entering = asyncio.create_task(runtime.__aenter__())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((entering, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not entering.done():
        entering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await entering
        return
    try:
        await entering
        gc.freeze()  # what was loaded stays: to look through it again would hold the GIL for 10 ms and more
        ready()
        log.info("ready", pid=os.getpid())
        await stopping
    finally:
        stopping.cancel()
        await runtime.stop()


def wait_for_others(name: str, settings: Settings, where: Endpoints) -> None:
    """At the first start of a fleet: until those in AFTER are ready, `start_wait_s` at most.

    A restarted actor waits for nobody: the others may be what is being restarted too.
    """
    if _mark(name, settings).is_file() and _mark(name, settings).read_text() == _fleet():
        return
    deadline = time.monotonic() + settings.fleet.start_wait_s
    for other in AFTER.get(name, ()):
        while time.monotonic() < deadline and not _is_ready(where, other):
            log.info("waiting for", other=other)


def _is_ready(where: Endpoints, name: str) -> bool:
    try:
        health = ask(where, name, AskHealth(), timeout_s=0.5)
    except NoAnswer:
        return False
    return isinstance(health, Health) and health.ready


def started(name: str, settings: Settings) -> None:
    """Remember that this fleet has had this actor ready once."""
    with contextlib.suppress(OSError):  # a full disk: then it waits for others once more
        _mark(name, settings).write_text(_fleet())


def _mark(name: str, settings: Settings) -> Path:
    return settings.run_dir / f"{name}.started"


def _fleet() -> str:
    """One life of one supervisord."""
    return str(os.getppid())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
