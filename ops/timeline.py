"""In come the two sides of a call and its records; out goes one picture, 1600 x 900."""

from __future__ import annotations

import textwrap
import wave
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bus.recording import Record
from ops.call_tables import TurnRow, stale_frames, stopped, turn_table
from ops.facts import (
    CALLER_RATE,
    SampleClock,
    first_sound_ns,
    last_sound_ns,
    told,
    turn_numbers,
)
from schemas import Ducked, Restored, RoundRow, SpeechStarted, TurnCancelled, TurnEnded, TurnStarted

# Okabe and Ito's colours: told apart by every kind of colour vision, and in grey by lightness.
CALLER, AGENT, DUCK, INK, FAINT = "#0072B2", "#E69F00", "#8E4585", "#222222", "#777777"
CUT = "#C00000"

COLUMNS = 1_500
"""Waveform columns: about one a pixel."""

LETTERS = 185
"""Letters of the text size used that fit the width of the picture."""

ROUNDS = 2
"""CANCEL rounds that find room beside one another."""

Sound = npt.NDArray[np.float64]


class Span(NamedTuple):
    """A stretch of the time axis (seconds) with its words, and a note that is never shortened."""

    start_s: float
    end_s: float
    text: str
    note: str = ""


class Score(NamedTuple):
    """All that is drawn, in seconds of the WAVs."""

    caller: list[Span]
    agent: list[Span]
    onsets_s: list[float]
    ducked: list[Span]
    cancels: list[tuple[float, int, TurnCancelled]]


def draw(
    path_png: Path, caller_wav: Path, agent_wav: Path, records: Sequence[Record], t0_ns: int
) -> None:
    """Draw the call. `t0_ns`: the monotonic time of sample 0 of both WAVs."""
    (caller, seconds), (agent, _) = _read(caller_wav), _read(agent_wav)
    score = score_of(records, t0_ns)
    figure = Figure(figsize=(16, 9), dpi=100, facecolor="white")
    rows = GridSpec(
        3, 1, figure, 0.055, 0.06, 0.985, 0.865, hspace=0, height_ratios=[3.0, 3.0, 2.9]
    )
    upper = figure.add_subplot(rows[0])
    lower = figure.add_subplot(rows[1], sharex=upper)
    _voice(upper, caller, seconds, CALLER, "caller")
    _voice(lower, agent, seconds, AGENT, "agent")
    upper.set(xlim=(0, seconds), ylim=(-1.1, 2.4))
    lower.set(xlim=(0, seconds), ylim=(-2.4, 1.1))
    lower.set_xlabel("seconds", loc="right", labelpad=1)
    upper.tick_params(bottom=False, labelbottom=False)
    _words(upper, score.caller, seconds, CALLER, y=2.32)
    _words(lower, score.agent, seconds, AGENT, y=-1.2)
    _marks(upper, lower, score)
    _rounds(figure, rows[2].get_position(figure).y1 - 0.105, score)
    _headline(figure, turn_table(records), score, stale_frames(records))
    figure.savefig(path_png)


def score_of(records: Sequence[Record], t0_ns: int) -> Score:
    """Place everything that happened on the time axis."""
    offset_s = ((SampleClock(records).zero_ns or t0_ns) - t0_ns) / 1e9
    numbers = turn_numbers(records)

    def at(ns: int) -> float:
        return (ns - t0_ns) / 1e9

    def heard(sample: int) -> float:
        return offset_s + sample / CALLER_RATE

    return Score(
        [
            Span(heard(e.start), heard(e.end), f"{numbers[e.turn]}  {e.text}")
            for _, e in told(records, TurnStarted)
            if e.turn
        ],
        [
            Span(at(first), at(last_sound_ns(records, e.turn) or first), *_spoken(numbers, e))
            for _, e in told(records, TurnEnded)
            if e.turn and (first := first_sound_ns(records, e.turn)) is not None
        ],
        [heard(e.onset) for _, e in told(records, SpeechStarted)],
        [
            Span(at(ns), at(_duck_end(records, ns, duck)), "", f"{duck.gain_db:+.0f} dB")
            for ns, duck in told(records, Ducked)
        ],
        [(at(e.sent_ns), numbers.get(e.turn, 0), e) for _, e in told(records, TurnCancelled)],
    )


def _spoken(numbers: dict[int, int], ended: TurnEnded) -> tuple[str, str]:
    heard, answer = len(ended.heard.split()), len(ended.answer.split())
    cut = f"✂ cut: {heard} of {answer} words" if ended.outcome == "interrupted" else ""
    return f"{numbers[ended.turn]}  {ended.heard}", cut


def _duck_end(records: Sequence[Record], since_ns: int, duck: Ducked) -> int:
    back = [ns for ns, e in told(records, Restored) if e.turn == duck.turn and ns >= since_ns]
    return min(back, default=last_sound_ns(records, duck.turn) or since_ns)


def _read(path: Path) -> tuple[Sound, float]:
    """The samples (full scale 1.0, first channel) and their length in seconds."""
    with wave.open(str(path), "rb") as sound:
        pcm = sound.readframes(sound.getnframes())
        samples = np.frombuffer(pcm, "<i2")[:: sound.getnchannels()] / 32768.0
        return samples, max(len(samples) / sound.getframerate(), 1e-3)


def _voice(axes: Axes, samples: Sound, seconds: float, colour: str, name: str) -> None:
    """The envelope of a side, scaled to its own peak."""
    step = max(len(samples) // COLUMNS, 1)
    columns = samples[: len(samples) // step * step].reshape(-1, step)
    peak = max(float(np.abs(columns).max(initial=0.0)), 1e-3)
    time = (np.arange(len(columns)) + 0.5) / max(len(columns), 1) * seconds
    low, high = (columns.min(1), columns.max(1)) if len(columns) else (time, time)
    axes.fill_between(time, low / peak - 0.006, high / peak + 0.006, color=colour, lw=0, zorder=3)
    axes.set_yticks([0], [name])
    axes.tick_params(axis="y", length=0, labelsize=13, labelcolor=INK)
    axes.tick_params(axis="x", labelsize=10)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#BBBBBB")


def _words(axes: Axes, spans: Sequence[Span], seconds: float, colour: str, y: float) -> None:
    """Shade each span; its words stand above (caller) or below (agent) as wide as room is."""
    starts = [span.start_s for span in spans] + [seconds]
    for span, until in zip(spans, starts[1:], strict=True):
        axes.axvspan(span.start_s, span.end_s, color=colour, alpha=0.13, lw=0, zorder=1)
        letters = max(int((until - span.start_s) / seconds * LETTERS) - 2, 14)
        lines = textwrap.wrap(span.text, letters, max_lines=3, placeholder=" …")
        text = "\n".join(lines + [span.note] * bool(span.note))
        late = span.start_s / seconds > 1 - 15 / LETTERS
        side = "right" if late else "left"
        axes.annotate(
            text,
            (seconds if late else span.start_s, y),
            (0 if late else 4, 0),
            textcoords="offset points",
            ha=side,
            va="top",
            fontsize=11,
            color=INK,
            zorder=6,
        )


def _marks(upper: Axes, lower: Axes, score: Score) -> None:
    """Onsets, ducked stretches, and each CANCEL as a line across both voices."""
    for onset in score.onsets_s:
        upper.plot(onset, -1.0, marker="^", ms=9, color=INK, zorder=7, clip_on=False)
        upper.vlines(onset, -1.0, 1.0, color=INK, lw=0.9, ls=(0, (4, 3)), zorder=5)
    for span in score.ducked:
        lower.axvspan(
            span.start_s, span.end_s, 0.37, 0.97, fc="none", ec=DUCK, hatch="///", lw=0, zorder=2
        )
        lower.plot(span.start_s, 1.0, marker="v", ms=9, color=DUCK, zorder=7)
        lower.text(span.start_s, 1.04, f"{span.note}  ", color=DUCK, ha="right", va="top", zorder=7)
        lower.vlines(span.start_s, -1.1, 1.0, color=DUCK, lw=1.2, ls=(0, (4, 3)), zorder=5)
    for at, turn, _ in score.cancels:
        upper.vlines(at, -1.1, 1.2, color=CUT, lw=2.6, zorder=8)
        lower.vlines(at, -1.1, 1.1, color=CUT, lw=2.6, zorder=8)
        upper.text(
            at, 1.24, f" CANCEL turn {turn}", color=CUT, weight="bold", fontsize=11, zorder=8
        )


def _rounds(figure: Figure, top: float, score: Score) -> None:
    """Below: each CANCEL under the magnifying glass, and the legend."""
    left, width, bottom, shown = 0.105, 0.68, 0.055, score.cancels[:ROUNDS]
    for index, (at, turn, fact) in enumerate(shown):
        room = width / len(shown)
        axes = figure.add_axes((left + index * room, bottom, room * 0.75 - 0.065, top - bottom))
        _one_round(axes, at, turn, fact, notes=len(shown) == 1)
    if not shown:
        figure.text(left, top - 0.05, "No CANCEL in this call.", fontsize=12, color=FAINT)
    if len(score.cancels) > ROUNDS:
        more = f"+ {len(score.cancels) - ROUNDS} more CANCEL rounds"
        figure.text(0.985, 0.03, more, ha="right", fontsize=10, color=FAINT)
    _legend(figure, top)


def _one_round(axes: Axes, at: float, turn: int, fact: TurnCancelled, notes: bool) -> None:
    """From fenced to released for each actor, on a logarithmic millisecond axis."""
    rows = sorted(fact.rows, key=lambda row: -(row.released_ms or 1e9))
    for y, row in enumerate(rows):
        _one_actor(axes, y, row, notes)
    last = max([row.released_ms or 1.0 for row in rows], default=1.0)
    axes.set(xscale="log", xlim=(0.05, max(last, 1.0) * 1.6), ylim=(-0.6, len(rows) - 0.4))
    axes.set_yticks(range(len(rows)), [row.actor for row in rows], fontsize=11)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} ms")
    axes.grid(axis="x", color="#DDDDDD", lw=0.8, zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(_round_title(at, turn, fact), fontsize=12, color=CUT, loc="left", pad=8, x=-0.02)


def _round_title(at: float, turn: int, fact: TurnCancelled) -> str:
    ms = fact.all_fenced_ms
    fenced = "NOT all fenced" if ms is None else f"all fenced in {ms:.1f} ms"
    return f"CANCEL turn {turn} at {at:.2f} s: {fenced}"


def _one_actor(axes: Axes, y: int, row: RoundRow, notes: bool) -> None:
    """A bar from fenced to released; in words what is missing."""
    if row.fenced_ms is not None:
        axes.plot(max(row.fenced_ms, 0.05), y, marker="|", ms=13, mew=3, color=INK, zorder=4)
    if row.fenced_ms is not None and row.released_ms is not None:
        start = max(row.fenced_ms, 0.05)
        axes.barh(y, max(row.released_ms - start, 0), 0.5, left=start, color="#56B4E9", zorder=3)
        axes.plot(max(row.released_ms, 0.05), y, marker="o", ms=7, color=CALLER, zorder=5)
    note = f"{_ms(row.fenced_ms)} → {_ms(row.released_ms)} ms"
    if row.verdict != "released":
        note = f"{row.verdict.upper()} {note}"
    if notes and stopped(row):
        note += f"  ({textwrap.shorten(stopped(row), 34, placeholder=' …')})"
    axes.annotate(
        note,
        (1.01, y),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=10,
        color=INK if row.verdict == "released" else CUT,
        weight="normal" if row.verdict == "released" else "bold",
    )


def _ms(value: float | None) -> str:
    return "?" if value is None else f"{value:.{2 if value < 1 else 1}f}"


def _legend(figure: Figure, top: float) -> None:
    """What the marks mean."""
    dashed = (0, (4, 3))
    marks = {
        "caller's voice, shaded: a turn's words": Patch(color=CALLER),
        "agent's voice as played": Patch(color=AGENT),
        "onset of caller speech": Line2D([], [], color=INK, marker="^", ls=dashed, lw=0.9),
        "agent ducked": Line2D([], [], color=DUCK, marker="v", ls=dashed, lw=1.2),
        "CANCEL broadcast": Line2D([], [], color=CUT, lw=2.6),
        "actor fenced": Line2D([], [], color=INK, marker="|", ms=12, mew=3, ls=""),
        "actor released": Line2D([], [], color=CALLER, marker="o", ls=""),
    }
    figure.legend(
        list(marks.values()),
        list(marks),
        loc="upper right",
        bbox_to_anchor=(0.985, top + 0.045),
        frameon=False,
        fontsize=11,
        labelspacing=0.55,
    )


def _headline(figure: Figure, turns: Sequence[TurnRow], score: Score, stale: int) -> None:
    """The call in one line."""
    cut = next((row for row in turns if row.stop_ms is not None), None)
    parts = [f"{len(turns)} turn{'s' * (len(turns) != 1)}"]
    answers = [row.answer_ms for row in turns if row.answer_ms is not None]
    if answers:
        parts.append(f"answered after {median(answers):.0f} ms (median)")
    if cut:
        ducked = "" if cut.duck_ms is None else f"ducked {cut.duck_ms:.0f} ms and "
        parts.append(f"{ducked}silent {cut.stop_ms:.0f} ms after the caller's onset")
    parts.append(f"{stale} stale frames")
    figure.text(
        0.055,
        0.945,
        "A call, talked over" if score.cancels else "A call",
        fontsize=19,
        weight="bold",
    )
    figure.text(0.055, 0.905, "  ·  ".join(parts), fontsize=13, color=FAINT)
