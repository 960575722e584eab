"""In come outcomes and strips of sound; out go two pictures: the latency CDF, and example timelines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from soak.duplex.levels import RATE, Sound
from soak.duplex.scene import Scene
from soak.duplex.score import Outcome

CALLER, AGENT, WOULD, INK, FAINT, BAD = (
    "#0072B2",
    "#E69F00",
    "#D5D5D5",
    "#222222",
    "#777777",
    "#C00000",
)
STEP = RATE // 100
BEFORE_S, AFTER_S = 1.5, 6.0
ROWS, COLUMNS = 8, 2
EXAMPLES = 4
"""Good trials shown even when there are failures enough to fill the page."""


@dataclass(frozen=True)
class Strip:
    """Peaks of 10 ms around a trial's onset: seconds of the first, then caller, agent, would-be agent."""

    from_s: float
    caller: Sound
    agent: Sound
    would: Sound


def strip(scene: Scene) -> Strip:
    """What a timeline needs of a scene; small enough to be kept for every trial."""
    onset = scene.onset if scene.onset >= 0 else len(scene.agent) // 2
    start = max(0, min(onset, scene.began if scene.began >= 0 else onset) - int(BEFORE_S * RATE))
    end = min(len(scene.agent), onset + int(AFTER_S * RATE))
    would = np.zeros(len(scene.agent))
    for turn in scene.turns:
        until = min(len(would), turn.start + len(turn.would))
        would[turn.start : until] = turn.would[: max(0, until - turn.start)]
    voices = (_peaks(sound[start:end]) for sound in (scene.caller, scene.agent, would))
    return Strip(start / RATE, *voices)


def _peaks(sound: Sound) -> Sound:
    whole = np.abs(sound[: len(sound) // STEP * STEP]).reshape(-1, STEP)
    return np.asarray(whole.max(axis=1) if len(whole) else np.zeros(0))


# -- latencies ----------------------------------------------------------------------------------------


def draw_latencies(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Shares of the interruptions that had made the agent quieter, or silent, by a time."""
    cut = [o for o in outcomes if o.kind == "interruption" and not o.invalid]
    figure = Figure(figsize=(11, 6.2), dpi=110, facecolor="white")
    axes = figure.add_axes((0.08, 0.12, 0.89, 0.74))
    rows = (
        ("onset to -20 dB", [o.quiet_ms for o in cut], CALLER, (100, 300)),
        ("onset to silence", [o.stop_ms for o in cut], BAD, (400, 700)),
    )
    longest = 1000.0
    for name, values, colour, marks in rows:
        known = sorted(value for value in values if value is not None)
        longest = max([longest, *known])
        steps = np.arange(1, len(known) + 1) / max(len(cut), 1)
        label = f"{name} ({len(known)} of {len(cut)} trials)"
        axes.step([0, *known], [0, *steps], where="post", color=colour, lw=2.2, label=label)
        for mark, share in zip(marks, (0.5, 0.9 if marks[0] == 100 else 0.95), strict=True):
            axes.plot(mark, share, marker="D", ms=8, color=colour, mec="white", zorder=5)
            text = f"bar: {share:.0%} by {mark} ms"
            axes.annotate(
                text, (mark, share), (8, -13), textcoords="offset points", fontsize=9, color=colour
            )
    axes.set(xlim=(0, longest * 1.02), ylim=(0, 1.03), xlabel="ms after the caller's onset")
    axes.set_ylabel("share of interruptions")
    axes.grid(color="#E4E4E4")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=11)
    figure.text(0.08, 0.92, "How soon the agent gives way", fontsize=17, weight="bold")
    figure.savefig(path)


# -- timelines ----------------------------------------------------------------------------------------


def draw_examples(path: Path, made: Sequence[tuple[Outcome, Strip]]) -> int:
    """Up to 16 trials, failures first; how many failures found no room."""
    shown, left_out = _chosen(made)
    rows = max(1, -(-len(shown) // COLUMNS))
    height = 1.1 + 1.7 * rows
    figure = Figure(figsize=(18, height), dpi=90, facecolor="white")
    failures = sum(bool(outcome.failed) for outcome, _ in made)
    title = f"{failures} of {len(made)} trials failed"
    title += f" ({left_out} more than shown)" if left_out else ""
    figure.text(0.03, 1 - 0.2 / height, title, fontsize=19, weight="bold", va="top")
    legend = "blue: caller   orange: agent as it sounded   grey: agent undisturbed   |: onset, end"
    marks = (
        "   ▼: 20 dB quieter   ■: silent.   Seconds of the call; both voices at their own scale."
    )
    figure.text(0.03, 1 - 0.6 / height, legend + marks, fontsize=12, color=FAINT, va="top")
    for index, (outcome, sound) in enumerate(shown):
        column, row = index % COLUMNS, index // COLUMNS
        bottom = height - 0.9 - 1.7 * (row + 1) + 0.3
        box = (0.03 + column * 0.495, bottom / height, 0.455, 1.0 / height)
        _timeline(figure.add_axes(box), outcome, sound)
    figure.savefig(path)
    return left_out


def _chosen(made: Sequence[tuple[Outcome, Strip]]) -> tuple[list[tuple[Outcome, Strip]], int]:
    """Failures first, each kind of failure in turn; then good ones, each kind of trial in turn."""
    bad = _by_turns([one for one in made if one[0].failed], lambda o: (o.kind, o.failed[:1]))
    good = _by_turns(
        [one for one in made if not one[0].failed and not one[0].invalid], lambda o: (o.kind, ())
    )
    room = ROWS * COLUMNS
    examples = min(EXAMPLES, len(good))
    first = bad[: room - examples]
    return [*first, *good[: room - len(first)]], len(bad) - len(first)


def _by_turns(
    made: Sequence[tuple[Outcome, Strip]], key: Callable[[Outcome], object]
) -> list[tuple[Outcome, Strip]]:
    seen: dict[object, int] = {}
    ranked: list[tuple[int, int, tuple[Outcome, Strip]]] = []
    for one in made:
        rank = seen[key(one[0])] = seen.get(key(one[0]), -1) + 1
        ranked.append((rank, len(ranked), one))
    return [one for _, _, one in sorted(ranked, key=lambda entry: entry[:2])]


def _timeline(axes: Axes, outcome: Outcome, sound: Strip) -> None:
    time = sound.from_s + np.arange(len(sound.agent)) * STEP / RATE
    loudest = max(float(sound.would.max(initial=0)), float(sound.agent.max(initial=0)), 1e-3)
    said = max(float(sound.caller.max(initial=0)), 1e-3)
    axes.fill_between(time, sound.caller / said, color=CALLER, lw=0)
    axes.fill_between(time, -sound.would / loudest, color=WOULD, lw=0)
    axes.fill_between(time, -sound.agent / loudest, color=AGENT, lw=0)
    axes.axhline(0, color=FAINT, lw=0.6)
    onset = outcome.onset_s
    for at in (onset, outcome.end_s):
        if at is not None:
            axes.axvline(at, color=INK, lw=1.1, ls=(0, (4, 3)))
    for ms, mark in ((outcome.quiet_ms, "v"), (outcome.stop_ms, "s")):
        if onset is not None and ms is not None:
            axes.plot(onset + ms / 1000, -1.0, marker=mark, ms=7, color=BAD, clip_on=False)
    axes.set(ylim=(-1.05, 1.05), yticks=[])
    axes.set_xlim(float(time[0]) if len(time) else 0, float(time[-1]) if len(time) else 1)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(labelsize=8)
    colour = BAD if outcome.failed else INK
    axes.set_title(_headline(outcome), fontsize=10.5, color=colour, loc="left", pad=3)


def _headline(outcome: Outcome) -> str:
    told = (
        ("silent after {:.0f} ms", outcome.stop_ms),
        ("ducked {:.2f} s", outcome.duck_s or None),
        ("answered after {:.0f} ms", outcome.response_ms),
    )
    figures = [words.format(value) for words, value in told if value is not None]
    verdict = ", ".join(outcome.failed).upper() or outcome.invalid or "ok"
    text = f"{outcome.name} “{outcome.text}” {outcome.voice} ({outcome.conditions})"
    return f"{verdict}: {', '.join(figures)}\n{text[:112]}"
