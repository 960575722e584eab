"""How well a local line keeps the agent's own voice out: rooms go in, a table and JSON come out.

`python -m soak.echo --minutes 10`: the agent alone for ten minutes in each room (it must not
interrupt itself), then callers at -6 to +6 dB relative to the echo (they must interrupt).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from engines.protocols import Vad
from engines.vad_silero import PysileroVad
from engines.vad_silero_onnx import SileroOnnxVad
from soak import caller_set
from soak.bench_kit import percentile
from soak.echo_loop import Loop, Utterance, speech
from soak.echo_path import FULL_SCALE, RATE, ROOMS, Floats, Room, Samples, active_dbfs
from soak.echo_words import Words

LEVELS_DB = (-6, -3, 0, 3, 6)
FIRST_S = 7.0
"""The agent speaks this long before the first caller does: the canceller knows the room by then."""
BETWEEN_S = 3.0
YIELD_BAR = 0.95
VADS: dict[str, type[PysileroVad] | type[SileroOnnxVad]] = {
    "pysilero": PysileroVad,
    "silero-onnx": SileroOnnxVad,
}


class Alone(msgspec.Struct, frozen=True, kw_only=True):
    """The agent alone in a room: how often it took itself for a caller.

    `interruptions`: by voice alone, sooner than in the fleet; `meant`: by the fleet's rules, with words.
    """

    vad: str
    room: str
    minutes: float
    interruptions: int
    meant: int
    false_ducks: int
    ducked_s: float
    longest_ms: float
    erle_db: float
    drift_ppm: float


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One caller over the agent, ms from the caller's first audible sample; None: never.

    `commit_ms`: by voice alone, sooner than in the fleet; `meant`: by the fleet's rules, with words.
    """

    vad: str
    room: str
    level_db: int
    clip: str
    voiced_ms: float
    onset_ms: float | None
    commit_ms: float | None
    meant: bool


def alone(
    vad: Vad, name: str, room: Room, agent: Samples, minutes: float, words: Words | None = None
) -> Alone:
    """Nobody but the agent speaks."""
    loop = Loop(room, agent, vad, words)
    outcome = loop.run(minutes * 60)
    figures = loop.echo.figures
    return Alone(
        vad=name,
        room=room.name,
        minutes=minutes,
        interruptions=sum(one.committed is not None for one in outcome.utterances),
        meant=sum(one.meant for one in outcome.utterances),
        false_ducks=len(outcome.utterances),
        ducked_s=round(outcome.ducked_s, 2),
        longest_ms=max((one.voiced * 1000 / RATE for one in outcome.utterances), default=0.0),
        erle_db=round(figures.erle_db, 1),
        drift_ppm=round(figures.drift_ppm, 1),
    )


def talked_over(
    vad: Vad,
    name: str,
    room: Room,
    agent: Samples,
    count: int,
    seed: int,
    words: Words | None = None,
) -> list[Trial]:
    """`count` interruptions of an agent that never stops, every few seconds, at all levels in turn."""
    chance = np.random.default_rng(seed)
    clips = caller_set.find("interruption")
    chosen = [clips[at] for at in chance.permutation(np.arange(count) % len(clips))]
    track = np.zeros(int(RATE * (FIRST_S + count * (BETWEEN_S + 8))))
    at, cues = int(RATE * FIRST_S), []
    for number, clip in enumerate(chosen):
        level_db = LEVELS_DB[(number + seed) % len(LEVELS_DB)]
        sound = _at_level(clip, room.echo_dbfs + level_db)
        track[at : at + len(sound)] = sound
        cues.append((clip, level_db, at + clip.onset_sample, at + clip.end_sample))
        at += len(sound) + int(RATE * (BETWEEN_S + chance.uniform(0, 1)))
    outcome = Loop(room, agent, vad, words).run(at / RATE, track)
    return [_trial(name, room, cue, outcome.utterances) for cue in cues]


def _at_level(clip: caller_set.Clip, dbfs: float) -> Floats:
    pcm = np.frombuffer(clip.pcm(), np.int16)
    level = active_dbfs(pcm[clip.onset_sample : clip.end_sample])
    return np.asarray(pcm / FULL_SCALE * 10 ** ((dbfs - level) / 20))


def _trial(
    vad: str, room: Room, cue: tuple[caller_set.Clip, int, int, int], heard: list[Utterance]
) -> Trial:
    clip, level_db, first, last = cue
    mine = [one for one in heard if one.end > first and one.onset < last]
    commits = [one.committed for one in mine if one.committed is not None]
    return Trial(
        vad=vad,
        room=room.name,
        level_db=level_db,
        clip=clip.file,
        voiced_ms=max((one.voiced * 1000 / RATE for one in mine), default=0.0),
        onset_ms=(mine[0].told - first) * 1000 / RATE if mine else None,
        commit_ms=(min(commits) - first) * 1000 / RATE if commits else None,
        meant=any(one.meant for one in mine),
    )


def yield_of(trials: Sequence[Trial]) -> float:
    """The share that interrupted, by the fleet's rules."""
    return sum(trial.meant for trial in trials) / max(1, len(trials))


def by_voice(trials: Sequence[Trial]) -> float:
    """The share that interrupted by voice alone."""
    return sum(trial.commit_ms is not None for trial in trials) / max(1, len(trials))


def good(rows: Sequence[Alone], trials: Sequence[Trial]) -> bool:
    """Both bars, each VAD and each level by itself."""
    groups = {(trial.vad, trial.level_db) for trial in trials}
    yields = [
        yield_of([t for t in trials if (t.vad, t.level_db) == group]) >= YIELD_BAR
        for group in groups
    ]
    return all(yields) and not any(row.interruptions or row.meant for row in rows)


def _show(console: Console, rows: Sequence[Alone], trials: Sequence[Trial]) -> None:
    table = Table("vad", "room", "min", "stops, voice / words", "false ducks", "ducked s")
    table.add_column("longest ms")
    table.add_column("ERLE dB")
    for row in rows:
        stops = f"{row.interruptions} / {row.meant}"
        values = (row.minutes, stops, row.false_ducks, row.ducked_s, row.longest_ms)
        table.add_row(row.vad, row.room, *map(str, values), str(row.erle_db))
    console.print(table)
    table = Table(
        "vad", "caller dB", "trials", "yield", "by voice", "onset seen", "onset p50/p90 ms"
    )
    table.add_column("commit p50")
    for vad in dict.fromkeys(trial.vad for trial in trials):
        for level in LEVELS_DB:
            some = [t for t in trials if (t.vad, t.level_db) == (vad, level)]
            if some:
                table.add_row(vad, f"{level:+d}", *_columns(some))
    console.print(table)


def _columns(trials: Sequence[Trial]) -> tuple[str, ...]:
    onsets = [t.onset_ms for t in trials if t.onset_ms is not None]
    commits = [t.commit_ms for t in trials if t.commit_ms is not None]
    return (
        str(len(trials)),
        f"{yield_of(trials):.3f}",
        f"{by_voice(trials):.3f}",
        f"{len(onsets) / len(trials):.3f}",
        f"{percentile(onsets, 50):.0f} / {percentile(onsets, 90):.0f}",
        f"{percentile(commits, 50):.0f}",
    )


def _rooms(seed: int) -> list[Room]:
    """The same kinds of room with other walls and other noise: seed 0 is what was tuned on."""
    return [dataclasses.replace(room, seed=room.seed + 1000 * seed) for room in ROOMS]


def main() -> int:
    """Exit code 1 when a bar is missed."""
    options = _options()
    console, began = Console(), time.monotonic()
    agent, words = speech(options.minutes * 60), Words()
    rows: list[Alone] = []
    trials: list[Trial] = []
    for name in options.vad or list(VADS):
        vad = VADS[name]()
        vad.load()
        for seed, room in enumerate(_rooms(options.seed), options.seed):
            rows.append(alone(vad, name, room, agent, options.minutes, words))
            trials += talked_over(vad, name, room, agent, options.trials, seed, words)
            console.print(f"{name}, {room.name}: done after {time.monotonic() - began:.0f} s")
    _show(console, rows, trials)
    result = {"seed": options.seed, "alone": rows, "trials": trials, "good": good(rows, trials)}
    if options.out:
        options.out.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))
    missed = [f"{t.vad} {t.room} {t.level_db:+d} dB {t.clip}" for t in trials if not t.meant]
    print(json.dumps({"good": result["good"], "missed": missed}))
    return 0 if result["good"] else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="agent alone, per room and VAD")
    parser.add_argument("--trials", type=int, default=30, help="callers per room and VAD")
    parser.add_argument("--seed", type=int, default=0, help="other walls, noise, order of callers")
    parser.add_argument("--vad", choices=VADS, action="append", help="repeatable; default: both")
    parser.add_argument("--out", type=Path, help="JSON file with every trial")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
