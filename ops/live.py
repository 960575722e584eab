"""The live trace of a call: messages heard on the bus go in, one readable line each comes out."""

from __future__ import annotations

import threading
from types import TracebackType

from rich.console import Console

from bus.recording import decode
from bus.wiretap import Heard
from schemas import (
    Acked,
    Cancel,
    Ducked,
    Event,
    Final,
    LlmStarted,
    Partial,
    PlaybackFinished,
    PlaybackStarted,
    Restored,
    Sentence,
    SpeechEnded,
    SpeechStarted,
    TurnCancelled,
    TurnEnded,
    TurnStarted,
)


def words(event: Event) -> tuple[str, str] | None:
    """Style and text of the events a person wants to see; None for the rest."""
    match event:
        case SpeechStarted():
            return "cyan", f"caller speaks (sample {event.onset})"
        case SpeechEnded():
            return "cyan", f"caller silent (voiced {event.voiced / 16:.0f} ms)"
        case Partial():
            return "dim", f"… {event.text}"
        case Final():
            return "cyan", f"heard: “{event.text}”"
        case TurnStarted():
            return "bold", f"turn begins: “{event.text}”"
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
        case Restored():
            return "yellow", "back to full level"
        case Cancel():
            return "bold red", f"CANCEL<{event.turn}> {event.reason}"
        case Acked():
            return "red", _acked(event)
        case TurnCancelled():
            fenced = (
                "not all fenced"
                if event.all_fenced_ms is None
                else f"all fenced {event.all_fenced_ms:.1f} ms"
            )
            return "bold red", f"round over: {fenced}, took {event.took_ms:.1f} ms"
        case TurnEnded():
            return "bold", f"turn {event.outcome}; heard: “{event.heard}”"
    return None


def _acked(ack: Acked) -> str:
    phase = (
        "fenced + released"
        if ack.fenced and ack.released and not ack.stopped
        else ("released" if ack.released else "fenced")
    )
    stopped = ", ".join(f"{name} {value}" for name, value in ack.stopped.items())
    return f"{ack.actor}: {phase}" + (f" ({stopped})" if stopped else "")


class Live:
    """Prints lines as they come, timed from the first; safe to be called from the recorder's thread."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._lock = threading.Lock()
        self._began_ns = 0

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is held."""

    def show(self, heard: Heard) -> None:
        """One message; sound and heartbeats are passed over unread."""
        if self._quiet or heard.lane == "media":
            return
        record = decode(heard)
        if record.event is None or not record.event.call or (said := words(record.event)) is None:
            return
        with self._lock:
            self._began_ns = self._began_ns or heard.at_ns
            seconds = (heard.at_ns - self._began_ns) / 1e9
            source = record.stamp.source if record.stamp else ""
            self._console.print(f"{seconds:7.3f} s  {source:<12}  [{said[0]}]{_escape(said[1])}[/]")


def _escape(text: str) -> str:
    return text.replace("[", "\\[")
