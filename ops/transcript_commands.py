"""transcript: in comes a call's id, out come its segments, and whether every sample is there once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from actors.segments import Segment, covered_to, ordered, problems
from actors.transcript import read
from bus.errors import BargeinError
from bus.journals import folder_name
from bus.settings import load
from ops import wav

console = Console()
RATE = 16_000


class NoTranscript(BargeinError):
    """There is none of that call, or it can't be read."""

    exit_code = 66


class NotProven(BargeinError):
    """A hole, an overlap, disorder or a loss."""

    exit_code = 65


def transcript(
    call: Annotated[str, typer.Argument(help="The call's id (a ULID).")],
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Prove from sample ranges that nothing is missing or twice."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """What the caller said, with the samples it was recognised from. Exit 65 when --verify fails."""
    settings = load()
    segments, found = _read(settings.transcript_dir, call)
    if verify:
        found += problems(segments, _end(settings.calls_dir / call / "caller.wav"))
    if as_json:
        print(json.dumps(_report(segments, found if verify else None)))
    else:
        _show(segments)
    if not verify:
        return
    if found:
        raise NotProven(f"call {call}: {'; '.join(found)}")
    if not as_json:
        channels = sorted({segment.channel for segment in segments})
        ends = ", ".join(f"{covered_to(segments, channel)}" for channel in channels)
        console.print(f"every sample is there once, in order: {ends} samples")


def _read(folder: Path, call: str) -> tuple[list[Segment], list[str]]:
    path = folder / f"{folder_name(call)}.jsonl"
    try:
        segments, _, problem = read(path)
    except OSError as error:
        known = ", ".join(sorted(found.stem for found in folder.glob("*.jsonl"))[-3:]) or "none"
        raise NoTranscript(
            f"no transcript of call {call!r} ({error.strerror}); the newest calls are: {known}"
        ) from None
    return segments, [problem] if problem else []


def _end(recording: Path) -> int | None:
    """The sample after the caller's last, where the line left a recording."""
    return len(wav.read(recording)) if recording.exists() else None


def _report(segments: list[Segment], found: list[str] | None) -> dict[str, object]:
    report: dict[str, object] = {
        "segments": [msgspec.to_builtins(segment) for segment in ordered(segments)]
    }
    if found is not None:
        report |= {"proven": not found, "problems": found}
    return report


def _show(segments: list[Segment]) -> None:
    table = Table(box=SIMPLE_HEAD)
    for heading in ("from s", "to s"):
        table.add_column(heading, justify="right")
    for heading in ("speaker", "kind", "session", "words"):
        table.add_column(heading)
    for segment in ordered(segments):
        if segment.kind != "quiet":
            table.add_row(
                f"{segment.start / RATE:.2f}",
                f"{segment.end / RATE:.2f}",
                segment.speaker,
                segment.kind,
                (segment.stt_session or "")[-6:],
                segment.text or "-",
            )
    console.print(table)


def register(app: typer.Typer) -> None:
    """Add the command to the CLI."""
    app.command()(transcript)
