"""In come trials; out come their outcomes: real calls, some at once, the invalid ones again."""

from __future__ import annotations

import asyncio
import gc
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from bus.endpoints import Endpoints
from bus.errors import BargeinError
from ops.line import Line
from ops.placing import Placed, Plan, place
from soak.duplex.caller import TrialCaller
from soak.duplex.plots import Strip, strip
from soak.duplex.scene import load
from soak.duplex.score import Outcome, score
from soak.duplex.sounds import Prepared, prepare
from soak.duplex.trials import Trial

STAGGER_S = 0.7
LATER_S = 0.37
"""Another try begins this much later in the answer: the agent may have paused at the onset."""
READY_S = 30.0
Progress = Callable[[str, int], None]
"""What has happened, and how many trials more there are than was said before: 0 where one has ended."""


@dataclass(frozen=True)
class Bench:
    """Where the calls go, and what is kept of them (`keep`: of all, else of those that failed)."""

    where: Endpoints
    folder: Path
    parallel: int = 4
    tries: int = 3
    keep: bool = False


@dataclass(frozen=True)
class Made:
    """A trial that was run: its outcome, and the strip of it for the pictures."""

    outcome: Outcome
    strip: Strip | None = None


@dataclass
class Called:
    """A call that was placed, or why it could not be."""

    prepared: Prepared
    caller: TrialCaller | None = None
    placed: Placed | None = None
    error: str = ""


def run(
    bench: Bench, trials: Sequence[Trial], progress: Progress = lambda text, more: None
) -> list[Made]:
    """All trials in their order; one that was invalid is tried again."""
    made: dict[str, Made] = {}
    waiting = list(trials)
    for attempt in range(bench.tries):
        prepared = [prepare(trial) for trial in waiting]
        with _on_time():
            called = asyncio.run(_calls(bench, prepared, attempt, progress))
        for one in called:
            name = one.prepared.trial.name
            made[name] = _again(made.get(name), _made(bench, one))
        waiting = [_later(trial) for trial in waiting if made[trial.name].outcome.invalid]
        if not waiting or attempt == bench.tries - 1:
            break
        progress(f"{len(waiting)} invalid trials again", len(waiting))
    return [made[trial.name] for trial in trials]


def _again(before: Made | None, made: Made) -> Made:
    """It tells why it was made again."""
    if before is None:
        return made
    again = (*before.outcome.again, before.outcome.invalid)
    return replace(made, outcome=msgspec.structs.replace(made.outcome, again=again))


@contextmanager
def _on_time() -> Iterator[None]:
    """No long garbage collection, and no recorder that holds the interpreter for 5 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)


def _later(trial: Trial) -> Trial:
    return msgspec.structs.replace(trial, after_s=round(trial.after_s + LATER_S, 2))


async def _calls(
    bench: Bench, prepared: Sequence[Prepared], attempt: int, progress: Progress
) -> list[Called]:
    """`parallel` at once, fewer in a further attempt, and never two begun at the same moment."""
    queue = list(reversed(prepared))
    at_once = max(1, bench.parallel // (attempt + 1))
    called: list[Called] = []

    async def worker(number: int) -> None:
        await asyncio.sleep(number * STAGGER_S)
        while queue:
            one = await _call(bench, queue.pop())
            called.append(one)
            late_ms = one.caller.late_ms if one.caller else 0.0
            progress(f"{one.prepared.trial.name}, harness {late_ms:.0f} ms late", 0)

    await asyncio.gather(*(worker(number) for number in range(at_once)))
    return called


async def _call(bench: Bench, prepared: Prepared) -> Called:
    called = Called(prepared)

    def talker(line: Line) -> TrialCaller:
        called.caller = TrialCaller(line, prepared)
        return called.caller

    plan = Plan(bench.where, bench.folder, ready_wait_s=READY_S)
    try:
        called.placed = await place(plan, talker)
    except BargeinError as error:
        called.error = str(error)
    return called


def _made(bench: Bench, called: Called) -> Made:
    """Score it; keep the call's folder where somebody will want to listen to it."""
    trial, caller, placed = called.prepared.trial, called.caller, called.placed
    if caller is None or placed is None:
        return Made(_refused(trial, called.error))
    scene = load(
        called.prepared, placed.folder, caller.speaker.placed, caller.said_at, caller.late_ms
    )
    outcome = score(scene)
    if not bench.keep and not outcome.failed:
        shutil.rmtree(placed.folder)
        return Made(outcome, strip(scene))
    return Made(msgspec.structs.replace(outcome, folder=placed.folder.name), strip(scene))


def _refused(trial: Trial, error: str) -> Outcome:
    return Outcome(
        name=trial.name,
        kind=trial.kind,
        text=" … ".join(trial.texts),
        voice=trial.voice,
        conditions=trial.conditions,
        invalid=f"no call: {error}",
    )
