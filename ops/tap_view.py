"""One formatter for what is heard on the bus: messages go in, lines, JSON objects and tables come out."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from bus.recording import Record
from ops.call_tables import stopped, with_unit
from schemas import (
    Acked,
    ActorKilled,
    Audio,
    BusGap,
    CallClosed,
    CallOpened,
    Cancel,
    CancelStuck,
    Ducked,
    EngineFailed,
    Event,
    Final,
    GoOn,
    Held,
    Interject,
    LlmStarted,
    Partial,
    PlaybackFinished,
    PlaybackStarted,
    Respond,
    Restored,
    Resume,
    Sentence,
    SpeechEnded,
    SpeechStarted,
    TurnCancelled,
    TurnEnded,
    TurnStarted,
)

US = 1000
MS = 1_000_000
FIRST_BYTES = 24
STYLES = {"control": "bold red", "media": "dim", "events": "default"}


def words(event: Event) -> tuple[str, str] | None:
    """Style and text of the events a person wants in words; None for the rest."""
    match event:
        case CallOpened():
            return "bold", f"call opened by {event.line} ({event.caller_rate} Hz)"
        case CallClosed():
            return "bold", f"call closed: {event.reason}"
        case SpeechStarted():
            return "cyan", f"caller speaks (sample {event.onset})"
        case SpeechEnded():
            return "cyan", f"caller silent (voiced {event.voiced / 16:.0f} ms)"
        case Partial():
            return "dim", f"… {event.text}{' (settled)' * event.settled}"
        case Final():
            return "cyan", f"heard: “{event.text}”"
        case TurnStarted():
            return "bold", f"turn begins: “{event.text}”"
        case Respond(draft=True):
            return "dim", "an answer is begun, not sure yet"
        case Interject():
            return "green", f"to say meanwhile: {event.text}"
        case GoOn():
            return (
                "yellow",
                f"llm was restarted: the rest is asked for, after {len(event.said)} sentences",
            )
        case Resume():
            return "yellow", f"tts was restarted: {len(event.parts)} sentences are left to say"
        case EngineFailed():
            return "red", f"{event.service} {event.endpoint} failed: {event.error}"
        case LlmStarted():
            return "dim", f"first token after {event.first_token_ms:.0f} ms"
        case Sentence():
            return "green", f"to say: {event.text}"
        case PlaybackStarted():
            return "green", "agent speaks"
        case PlaybackFinished():
            return "green", f"agent has spoken {event.samples / event.rate:.1f} s"
        case Ducked():
            return "yellow", f"ducked by {-event.gain_db:.0f} dB"
        case Held():
            return "yellow", "held: silent, keeps its place"
        case Restored():
            return "yellow", "back to full level"
    return _of_a_cancel(event)


def _of_a_cancel(event: Event) -> tuple[str, str] | None:
    match event:
        case Cancel():
            return "bold red", f"CANCEL<{event.turn}> {event.reason}"
        case Acked():
            return "red", _acked(event)
        case TurnCancelled():
            return "bold red", f"round over: {_fenced(event)}, took {event.took_ms:.1f} ms"
        case TurnEnded():
            return "bold", f"turn {event.outcome}; heard: “{event.heard}”"
        case CancelStuck():
            waited = f"after {event.waited_ms:.0f} ms"
            return "bold red", f"STUCK: {event.actor} is not {event.phase} {waited}"
        case ActorKilled():
            return "bold red", f"killed {event.actor} (pid {event.pid}): {event.why}"
        case BusGap():
            missed = f"{event.missed} messages of {event.topic} from {event.origin}"
            return "bold red", f"GAP: {event.actor} missed {missed}"
    return None


def _acked(ack: Acked) -> str:
    both = ack.fenced and ack.released and not ack.stopped
    phase = "fenced + released" if both else "released" if ack.released else "fenced"
    what = ", ".join(with_unit(name, value) for name, value in ack.stopped.items())
    return f"{ack.actor}: {phase}" + (f" ({what})" if what else "")


def _fenced(event: TurnCancelled) -> str:
    if event.all_fenced_ms is None:
        return "not all fenced"
    return f"all fenced {event.all_fenced_ms:.1f} ms"


def said(record: Record) -> Text:
    """A message in words, or its kind and fields."""
    assert record.event is not None
    if (known := words(record.event)) is not None:
        return Text(known[1], style=known[0])
    kind = record.frames[0].partition(b"\0")[0].decode(errors="replace")
    if isinstance(record.event, Audio):
        return Text(f"{kind} {_sound(record.event)}", style=STYLES["media"])
    fields = " ".join(f"{name}={_short(value)}" for name, value in fields_of(record.event).items())
    return Text(f"{kind} {fields}".rstrip(), style="dim")


def _short(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def _sound(event: Audio) -> str:
    ms = 1000 * event.samples / event.rate
    return f"{event.samples} samples ({ms:.0f} ms) from sample {event.first}, {event.rate} Hz"


def fields_of(event: Event) -> dict[str, Any]:
    """Its own fields, without what every line says already; sound as a count of samples."""
    fields = {
        name: msgspec.to_builtins(getattr(event, name))
        for name in event.__struct_fields__
        if name not in ("call", "turn", "pcm")
    }
    if isinstance(event, Audio):
        fields["samples"] = event.samples
    return fields


def line(record: Record, began_ns: int, latency: bool = True) -> Text:
    """Seconds since `began_ns`, how long it was on its way, who said it, what."""
    assert record.stamp is not None
    text = Text(f"{(record.at_ns - began_ns) / 1e9:8.3f} s  ")
    if latency:
        text.append(f"{(record.at_ns - record.stamp.at_ns) / MS:7.2f} ms  ", style="dim")
    text.append(f"{record.stamp.source:<13} ", style="blue")
    return text.append_text(said(record))


def as_json(record: Record) -> bytes:
    """One JSON object with all fields."""
    assert record.event is not None
    assert record.stamp is not None
    stamp = record.stamp
    return msgspec.json.encode(
        {
            "at_ns": stamp.at_ns,
            "lane": record.lane,
            "kind": record.event.__struct_config__.tag,
            "call": record.event.call,
            "turn": record.event.turn,
            "source": stamp.source,
            "seq": stamp.seq,
            "latency_us": (record.at_ns - stamp.at_ns) // US,
            **fields_of(record.event),
        }
    )


def malformed(record: Record, why: str) -> dict[str, Any]:
    """Frames that are no event, as JSON has them."""
    return {
        "at_ns": record.at_ns,
        "lane": record.lane,
        "kind": "malformed",
        "why": why,
        "frames": len(record.frames),
        "bytes": sum(map(len, record.frames)),
        "first_bytes": [frame[:FIRST_BYTES].hex(" ") for frame in record.frames[:3]],
    }


def round_table(event: TurnCancelled, budget_ms: float = 0) -> Table:
    """Who fenced and released when, and what that stopped; it may take `budget_ms`, 0: not known."""
    of = f", budget {budget_ms:.0f} ms" if budget_ms else ""
    table = Table(title=f"CANCEL<{event.turn}> ({event.reason}): {_fenced(event)}{of}")
    for heading in ("actor", "verdict", "fenced ms", "released ms", "what stopped"):
        table.add_column(heading, justify="right" if heading.endswith(" ms") else "left")
    for row in event.rows:
        times = (_ms(row.fenced_ms), _ms(row.released_ms))
        table.add_row(row.actor, row.verdict, *times, stopped(row) or "-")
    return table


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
