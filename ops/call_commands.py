"""call and demo: in come WAV files and cues, out come a real call, its recording and its tables."""

from __future__ import annotations

import asyncio
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bus.endpoints import Endpoints
from bus.errors import BargeinError
from bus.recording import Record
from bus.settings import Settings, load
from ops import fleet_commands, in_force, report, wav
from ops.cues import Cue, parse
from ops.live import Live
from ops.microphone import Microphone
from ops.placing import Caller, Clip, Placed, Plan, place, write_report
from ops.sound_card import PortAudio
from ops.supervisor import Supervisor
from ops.talk import Headphones
from soak import caller_set

console = Console()
DEMO_VOICE = "rms"
DEMO_REQUEST = "tell me a very long story"
DEMO_INTERRUPTION = "wait a minute, what is twelve times seven"
DEMO_ASKED = (
    report.Asked("tell me a very long story"),
    report.Asked("wait a minute what is twelve times seven", "eighty four"),
)
READY_S = 30.0


class BadCall(BargeinError):
    """The call did not go as it should."""

    exit_code = 1


def call(
    wavs: Annotated[
        list[Path] | None, typer.Option("--wav", help="What the caller says; repeatable.")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", help="When the 2nd, 3rd… --wav begins: 'agent speaks 2 s' …"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The agent's recording, as long as the call.")
    ] = None,
    rate: Annotated[
        int, typer.Option(help="Samples per second of --out.", min=8000, max=48000)
    ] = 16000,
    wait: Annotated[
        float, typer.Option(help="Hang up after this long without news, in s.", min=1)
    ] = 15.0,
    mic: Annotated[
        bool, typer.Option("--mic", help="Talk yourself, until Ctrl-C; see also `bargein talk`.")
    ] = False,
    headphones: Headphones = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Place a real-time call from WAV files and record the agent on the call's clock."""
    from ops.line import Rates

    settings = load()
    if mic is bool(wavs):
        raise BadCall("who is calling? give --wav FILE (repeatable), or --mic")
    talker = (
        partial(Microphone, card=PortAudio(), headphones=headphones)
        if mic
        else partial(Caller, clips=script(wavs or [], at or []), longest_wait_s=wait)
    )
    Supervisor(settings.home).require()
    if out is not None:
        _writable(out)
    where = Endpoints(settings.run_dir)
    with Live(console, quiet=as_json) as live:
        placed = asyncio.run(
            place(
                Plan(
                    where,
                    settings.calls_dir,
                    Rates(agent=rate),
                    watch=live.show,
                    header=in_force.header(settings, where),
                    attended=mic,
                ),
                talker,
            )
        )
    records = write_report(placed)
    if out is not None:
        shutil.copyfile(placed.folder / "agent.wav", out)
    _tell(placed, records, as_json)


def script(wavs: list[Path], at: list[str]) -> list[Clip]:
    """The first at 0.5 s; each further one at its cue, or when the agent has been silent for 1 s."""
    if len(at) > max(0, len(wavs) - 1):
        raise BadCall(
            f"{len(at)} --at for {len(wavs)} --wav: the first needs none, give one per further"
        )
    cues = [Cue("clock", 0.5), *map(parse, at)]
    cues += [Cue("silent", 1.0)] * (len(wavs) - len(cues))
    return [Clip(wav.read(path), cue, path.name) for path, cue in zip(wavs, cues, strict=True)]


def _writable(out: Path) -> None:
    try:
        out.touch()
    except OSError as error:
        raise BadCall(
            f"--out {out}: can't be written ({error.strerror}); choose another file"
        ) from None


def _tell(placed: Placed, records: list[Record], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.summary(records)))
        return
    report.print_tables(console, records, placed.budget_ms)
    console.print(f"recording, trace and timeline: {placed.folder}")


def demo() -> None:
    """Start the fleet, place a call that is talked over, show what happened, stop the fleet."""
    settings = load()
    fleet_commands.up()
    try:
        problems = _demo_call(settings)
    finally:
        fleet_commands.down()
    if problems:
        raise BadCall("the demo call was not good: " + "; ".join(problems))
    console.print("[green]both questions answered, the agent was talked over, all acknowledged[/]")


def _demo_call(settings: Settings) -> list[str]:
    where = Endpoints(settings.run_dir)
    request = caller_set.find("long_request", DEMO_VOICE, DEMO_REQUEST)[0]
    interruption = caller_set.find("interruption", DEMO_VOICE, DEMO_INTERRUPTION)[0]
    clips = [
        Clip(wav.read(request.path), Cue("clock", 0.5), request.text),
        Clip(wav.read(interruption.path), Cue("speaks", 4.0), interruption.text),
    ]
    with Live(console) as live:
        placed = asyncio.run(
            place(
                Plan(
                    where,
                    settings.calls_dir,
                    ready_wait_s=READY_S,
                    watch=live.show,
                    header=in_force.header(settings, where),
                ),
                partial(Caller, clips=clips),
            )
        )
    records = write_report(placed)
    _tell(placed, records, as_json=False)
    return report.verdict(records, DEMO_ASKED)


def register(app: typer.Typer) -> None:
    """Add the commands to the CLI."""
    app.command()(call)
    app.command()(demo)
