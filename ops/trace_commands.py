"""tap, record, replay: in comes the bus, live or recorded; out come lines, a file, differences."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import msgspec
import structlog
import typer
import zmq
from rich.console import Console
from rich.text import Text

from bus.endpoints import Endpoints
from bus.errors import BargeinError, NoAnswer
from bus.recording import Recorder
from bus.settings import load
from ops import in_force
from ops.replay_compare import Difference
from ops.replaying import Outcome, Replaying
from ops.supervisor import Supervisor
from ops.tap import RATE_IN_A_FILE_S, RATE_S, Choice, JsonLines, Lines, Tap, listen

TICK_S = 0.2
LONGEST_SHOWN = 160
For = Annotated[float | None, typer.Option("--for", help="End after this long, in s.", min=0.1)]
Names = Annotated[list[str] | None, typer.Option("--actor", help="Only what it says; repeatable.")]


class BadOut(BargeinError):
    """A file can't be written there."""

    exit_code = 73


class Terminal(Console):
    """A reader that goes away (`| head`) is an end like any other."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


console = Terminal()


@contextmanager
def until_interrupted() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed pipe end the block in good order, and the command with 0."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def errors_only() -> Iterator[None]:
    """An actor that lives in this process logs as if it were its own: here only what fails."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def tap(
    events: Annotated[
        list[str] | None,
        typer.Option("--event", help="Only this kind, or kinds that begin so; repeatable."),
    ] = None,
    call: Annotated[str, typer.Option("--call", help="Only this call (a ULID).")] = "",
    actors: Names = None,
    media: Annotated[bool, typer.Option(help="Each frame of sound, not only its rate.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a message.")] = False,
    for_s: For = None,
    count: Annotated[
        int | None, typer.Option("--count", help="End after this many messages shown.", min=1)
    ] = None,
) -> None:
    """Show what is said on all lanes, live, until Ctrl-C.

    Heartbeats, probes and turn.steps are shown only when --event asks for them.
    """
    settings = load()
    choice = Choice(tuple(events or ()), call, tuple(actors or ()), media)
    Supervisor(settings.home).require()
    began = time.monotonic()
    rate_s = RATE_S if console.is_terminal else RATE_IN_A_FILE_S
    try:
        shown = JsonLines() if jsonl else Lines(console, settings.cancel.release_ms)
        with shown as screen, until_interrupted():
            mine = Tap(choice, screen)
            listen(mine, zmq.Context.instance(), Endpoints(settings.run_dir), for_s, count, rate_s)
        screen.remark(mine.summary(time.monotonic() - began))
        screen.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def record(
    out: Annotated[Path, typer.Option("--out", help="The trace; must not exist yet.")],
    call: Annotated[str, typer.Option("--call", help="Only this call (a ULID).")] = "",
    for_s: For = None,
    media: Annotated[
        bool, typer.Option(help="Sound too; needed to replay audio_in, stt, playback.")
    ] = True,
) -> None:
    """Write what is said on the bus into a file, until Ctrl-C."""
    settings = load()
    Supervisor(settings.home).require()
    if out.is_file():
        raise BadOut(f"--out {out}: exists already; choose another file")
    where = Endpoints(settings.run_dir)
    header = in_force.header(settings, where)
    recorder = Recorder(zmq.Context.instance(), where, out, call, header=header, media=media)
    if not recorder.open():
        raise NoAnswer("the broker does not answer; see `bargein status`, start with `bargein up`")
    recorder.start()
    with until_interrupted(), console.status("recording…") as status:
        began = time.monotonic()
        while recorder.is_alive() and (for_s is None or time.monotonic() - began < for_s):
            recorder.join(TICK_S)
            status.update(f"recording, {_so_far(recorder, began)}; Ctrl-C ends it")
    recorder.stop()
    console.print(f"{out}: {_so_far(recorder, began)}", highlight=False, soft_wrap=True)


def _so_far(recorder: Recorder, began: float) -> str:
    seconds = time.monotonic() - began
    return f"{recorder.count} messages, {recorder.bytes / 1000:.1f} kB, {seconds:.1f} s"


def replay(
    trace: Annotated[Path, typer.Argument(help="A recording; each call leaves trace.msgpack.")],
    actor: Annotated[
        str, typer.Option(help="Who lives it again, with its real engine.")
    ] = "turn_manager",
    call: Annotated[str, typer.Option("--call", help="Only this call (a ULID).")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write what was said this time as a trace.")
    ] = None,
    current_settings: Annotated[
        bool,
        typer.Option("--current-settings", help="What would today's fleet.toml have made of it?"),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Let an actor live a recorded call again and compare. Exit 0 when the same, 1 when not."""
    replaying = Replaying(trace, load(), actor, call, current_settings)
    with errors_only():
        outcome = replaying.run()
    if out is not None:
        try:
            replaying.write(out)
        except OSError as error:
            raise BadOut(f"--out {out}: can't be written ({error.strerror})") from None
    if as_json:
        print(msgspec.json.encode(outcome).decode())
    else:
        _show(outcome)
    if not outcome.identical:
        raise typer.Exit(1)


def _show(outcome: Outcome) -> None:
    for note in outcome.notes:
        console.print(
            f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )
    for comparison in outcome.comparisons:
        for one in comparison.differences:
            console.print(_line(one), soft_wrap=True)
        same = f"{comparison.identical} of {comparison.compared} events are the same"
        console.print(
            f"call {comparison.call}: {outcome.actor} with the {outcome.settings} settings: {same}",
            style="green" if not comparison.differences else "red",
            highlight=False,
            soft_wrap=True,
        )
    if outcome.settings == "current" and not outcome.identical:
        console.print(
            "from the first difference on the rest of the fleet would have answered otherwise "
            "than it did in the recording",
            style="dim",
            soft_wrap=True,
        )


def _line(one: Difference) -> Text:
    """When, which event, and what it said then and now."""
    event = " ".join(filter(None, (one.kind, one.who, f"#{one.nth}")))
    text = Text(f"{one.at_s:8.3f} s  turn {one.turn or '-'}  {event:<20} ")
    if one.only:
        said = _short(one.recorded or one.replayed)
        return text.append(f"only {one.only}: ", style="red").append(said)
    text.append(f"{one.field}: ", style="bold").append(_short(one.recorded), style="red")
    return text.append(" → ").append(_short(one.replayed), style="green")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def register(app: typer.Typer) -> None:
    """Add the commands to the CLI."""
    for command in (tap, record, replay):
        app.command()(command)
