"""What a person who talks to the agent sees: events and levels go in, a panel comes out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ops.microphone import Meters
from schemas import (
    CallClosed,
    Cancel,
    Ducked,
    Event,
    Final,
    LineLost,
    Partial,
    PlaybackStarted,
    Restored,
    Sentence,
    SessionOpened,
    SpeechEnded,
    SpeechStarted,
    SttDegraded,
    SttRecovered,
    TurnEnded,
    TurnStarted,
)

LINES = 12
"""Lines of the conversation that stay on the screen."""
BAR = 24
"""Characters of a level meter, from FLOOR_DBFS to 0 dBFS."""
FLOOR_DBFS = -60.0
STYLES = {
    "listening": "cyan",
    "hearing you": "bold cyan",
    "thinking": "yellow",
    "speaking": "green",
    "ducked": "bold yellow",
    "interrupted": "bold red",
}
DEGRADED = {
    "en": "transcription degraded",
    "de": "Transkription eingeschränkt",
    "es": "transcripción degradada",
    "fr": "transcription dégradée",
    "it": "trascrizione ridotta",
}
"""By language: your words come late, in batches; none is lost."""
AMBER = "bold black on dark_orange"


def language(environment: Mapping[str, str]) -> str:
    """As the terminal is set; English where we have no other."""
    names = (environment.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    code = next((name for name in names if name), "")[:2].lower()
    return code if code in DEGRADED else "en"


@dataclass(frozen=True)
class View:
    """The conversation so far. `saying` is the answer being spoken, `partial` what you are saying.

    `degraded`: the caller channels whose recogniser is away.
    """

    state: str = "listening"
    lines: tuple[tuple[str, str], ...] = ()
    partial: str = ""
    saying: str = ""
    turn: int = 0
    degraded: frozenset[int] = frozenset()


def after(view: View, event: Event) -> View:
    """The view once `event` has happened."""
    match event:
        case SpeechStarted() if view.state in ("listening", "interrupted"):
            return replace(view, state="hearing you")
        case SpeechEnded() if view.state == "hearing you":
            return replace(view, state="listening")
        case Partial():
            return replace(view, partial=event.text)
        case Final():
            return replace(view, partial="" if not event.more else view.partial)
        case TurnStarted():
            view = _said(view, "you", event.text)
            return replace(view, state="thinking", partial="", saying="", turn=event.turn)
        case Sentence() if event.turn == view.turn:
            return replace(view, saying=f"{view.saying} {event.text}".strip())
        case PlaybackStarted():
            return replace(view, state="speaking")
        case Ducked() if view.state == "speaking":
            return replace(view, state="ducked")
        case Restored() if view.state == "ducked":
            return replace(view, state="speaking")
        case Cancel():
            return replace(view, state="interrupted")
        case TurnEnded():
            return _ended(view, event)
        case SttDegraded():
            return replace(view, degraded=view.degraded | {event.channel})
        case SttRecovered() | SessionOpened():
            return replace(view, degraded=view.degraded - {event.channel})
        case CallClosed() | LineLost():
            return replace(view, degraded=frozenset())
    return view


def _ended(view: View, event: TurnEnded) -> View:
    """What was heard stays; the rest of the answer was never said."""
    cut = event.outcome == "interrupted"
    heard = f"{event.heard} — (you interrupted)" if cut and event.heard else event.heard
    if event.outcome == "failed":
        heard = f"{event.heard} (failed: {event.detail})".strip()
    view = _said(view, "agent", heard)
    if event.turn != view.turn:
        return view
    return replace(view, state="interrupted" if cut else "listening", saying="")


def _said(view: View, who: str, text: str) -> View:
    return replace(view, lines=(*view.lines, (who, text))[-LINES:]) if text else view


def panel(view: View, meters: Meters, tongue: str = "en") -> RenderableType:
    """The screen."""
    words = [_line(who, text) for who, text in view.lines]
    if view.saying:
        words.append(_line("agent", view.saying, "dim green"))
    words.append(_line("you", f"{view.partial} …", "dim cyan") if view.partial else Text())
    if view.degraded:
        words.append(Text(f" {DEGRADED[tongue]} ", AMBER))
    return Panel(
        Group(*words, _levels(view, meters)),
        title=Text(f" {view.state} ", STYLES[view.state]),
        subtitle="Ctrl-C hangs up",
    )


def _line(who: str, text: str, style: str = "") -> Text:
    colour = "cyan" if who == "you" else "green"
    return Text.assemble((f"{who:>5}  ", colour), (text, style), overflow="fold")


def _levels(view: View, meters: Meters) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_row("  you", _bar(meters.caller_dbfs, "cyan"), f"{meters.caller_dbfs:6.1f} dBFS")
    grid.add_row("agent", _bar(meters.agent_dbfs, "green"), f"{meters.agent_dbfs:6.1f} dBFS")
    grid.add_row(" echo", _echo(meters), "")
    return grid


def _bar(level_dbfs: float, style: str) -> Text:
    full = round(BAR * min(1.0, max(0.0, 1 - level_dbfs / FLOOR_DBFS)))
    return Text.assemble(("█" * full, style), ("·" * (BAR - full), "dim"))


def _echo(meters: Meters) -> Text:
    if meters.echo is None:
        return Text("headphones: not cancelled", "dim")
    if meters.echo.delay_ms is None:
        return Text("not heard yet", "dim")
    return Text(f"{meters.echo.delay_ms:.0f} ms late, {meters.echo.erle_db:.0f} dB off", "dim")
