"""`python -m soak.gpu_check_nemo FOLDER SIZE live STEPS SESSIONS`, or `… whole RECORDINGS`: random weights.

`live`: 16 calls of different age share the steps of nemotron, one each 160 ms; then sessions are opened
and closed, a third of them in mid-utterance. `whole`: Parakeet hears one recording of 10 s after the
other. Both go on afterwards, so that the others are measured beside them.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import numpy as np

from engines.batch_nemo import NemoBatch
from engines.nemo_frames import Cutter
from engines.nemo_model import Ear, NemoModel
from engines.nemo_stack import NemoSettings, stack
from engines.stt_nemo import NemoEngine, NemoSession
from soak.gpu_worker import Worker
from soak.random_nemo import RATE, build

CALLS = 16
CONTEXT_MS = 160
LONGEST_STEPS = 60
"""Of an utterance: 10 s."""
WARM_SESSIONS = 20
RECORDING_S = 10
TOLD_EVERY = 100


def noise(seconds: float, seed: int) -> bytes:
    """Mono int16 PCM at 16 kHz, as loud as speech."""
    thrown = np.random.default_rng(seed)
    return (3000 * thrown.standard_normal(round(seconds * RATE))).astype("<i2").tobytes()


class Call:
    """One of those that share the steps; its utterances begin and end at moments of their own."""

    def __init__(self, model: NemoModel, number: int) -> None:
        self._model, self._number = model, number
        self._sound = noise(LONGEST_STEPS * CONTEXT_MS / 1000, number)
        self.begin()

    def begin(self) -> None:
        self.ear: Ear = self._model.ear()
        self.cutter = Cutter(self._model.ahead)

    def hear(self, step: int) -> None:
        """The next 160 ms."""
        turn = (step + self._number * LONGEST_STEPS // CALLS) % LONGEST_STEPS
        if turn == 0:
            self.begin()
        size = 2 * RATE * CONTEXT_MS // 1000
        self.cutter.push(self._sound[turn * size : (turn + 1) * size])


def steps(worker: Worker, model: NemoModel) -> Iterator[tuple[float, int]]:
    """How long a step took, ms, and of how many calls it was; one each 160 ms."""
    calls = [Call(model, number) for number in range(CALLS)]
    due, step = time.perf_counter(), 0
    while True:
        for call in calls:
            call.hear(step)
        work = [(one.ear, window) for one in calls if (window := one.cutter.next())]
        began = time.perf_counter()
        model.step(work)
        worker.wait()
        yield (time.perf_counter() - began) * 1000, len(work)
        step, due = step + 1, due + CONTEXT_MS / 1000
        time.sleep(max(0.0, due - time.perf_counter()))


async def utterance(session: NemoSession, sound: bytes, aborted: bool) -> None:
    """Heard to its end, or broken off once it is in a step."""
    session.begin(1, 0)
    session.feed(sound)
    while aborted and not session.worked_on:  # noqa: ASYNC110 - a session tells nobody of its steps
        await asyncio.sleep(0.001)
    if not aborted:
        session.finish()
        async with aclosing(session.results()) as results:
            await anext(guess async for guess in results if guess.final)


async def sessions(worker: Worker, settings: NemoSettings, count: int) -> float:
    """By how much memory grows, MB, while so many are opened and closed."""
    engine, sound, before = NemoEngine(settings), noise(1.0, 0), 0.0
    await engine.load()
    for number in range(-WARM_SESSIONS, count):
        if number == 0:
            before = worker.memory_mb()
        session = await engine.open()
        try:
            await utterance(session, sound, aborted=number % 3 == 0)
        finally:
            await session.close()
        if number % TOLD_EVERY == 0:
            worker.tell(doing=f"{number} of {count} sessions")
    grown = worker.memory_mb() - before
    await engine.close()
    return grown


def live(worker: Worker, path: Path, count: int, opened: int) -> None:
    """The streaming model."""
    settings = NemoSettings(
        model=str(path), device=worker.device, att_context_ms=CONTEXT_MS, max_sessions=CALLS
    )
    model = NemoModel(settings)
    model.load()
    worker.ready()
    step_ms, shared = list[float](), 0
    going = steps(worker, model)
    for took_ms, calls in going:
        if calls == CALLS:
            step_ms.append(took_ms)
        shared += calls
        if len(step_ms) == count:
            break
        if len(step_ms) % TOLD_EVERY == 0:
            worker.tell(doing=f"{len(step_ms)} of {count} steps")
    grown_mb = asyncio.run(sessions(worker, settings, opened))
    worker.tell(over=True, step_ms=step_ms, calls=CALLS, sessions=opened, grown_mb=grown_mb)
    for _ in going:
        pass


async def whole(worker: Worker, path: Path, count: int) -> None:
    """The one for recordings."""
    batch = NemoBatch(NemoSettings(batch_model=str(path), device=worker.device))
    await batch.load()
    worker.ready()
    took_ms, words, number = list[float](), 0, 0
    while True:
        began = time.perf_counter()
        heard = await batch.transcribe(noise(RECORDING_S, number), 0)
        took_ms.append((time.perf_counter() - began) * 1000)
        words += len(heard.words)
        number += 1
        if number == count:
            worker.tell(over=True, recording_ms=took_ms, words=words, seconds=RECORDING_S)


def main(arguments: list[str]) -> None:
    """Build, load, measure, go on."""
    stack()
    worker = Worker(arguments)
    kind, *counts = worker.arguments
    worker.tell(doing="making its file")
    path = build(worker.folder, kind == "live", worker.small, worker.device)
    worker.tell(doing="loading it")
    if kind == "live":
        live(worker, path, int(counts[0]), int(counts[1]))
    else:
        asyncio.run(whole(worker, path, int(counts[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
