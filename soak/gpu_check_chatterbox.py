"""`python -m soak.gpu_check_chatterbox FOLDER SIZE SENTENCES CANCELS`: Chatterbox, by random weights.

How late the first chunk is; how long after a CANCEL, at any moment, the device is idle. Then it speaks on,
so that the others are measured beside it.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from contextlib import nullcontext

from engines.chatterbox_model import SAMPLES_PER_TOKEN, ChatterboxModel, ChatterboxSettings, stack
from soak.gpu_worker import Worker
from soak.random_chatterbox import SMALL_CHUNKS, build, shrunken

TEXT = "There are sixty minutes in an hour."
TOKENS = 50
TOLD_EVERY = 100
COMPARED_EVERY = 10


def settings(worker: Worker) -> ChatterboxSettings:
    """As shipped; a shrunken one makes shorter chunks."""
    model, device = str(worker.folder), worker.device
    chunks = SMALL_CHUNKS if worker.small else {}
    return ChatterboxSettings(model=model, device=device, **chunks)


def said(model: ChatterboxModel) -> tuple[bytes, float]:
    """All of it, and ms until its first chunk."""
    began, times, chunks = time.perf_counter(), list[float](), list[bytes]()

    def tell(pcm: bytes, last: bool) -> None:
        times.append(time.perf_counter())
        chunks.append(pcm)

    model.speak(TEXT, threading.Event(), tell)
    return b"".join(chunks), (times[0] - began) * 1000


class Cancels:
    """At random moments of syntheses that take `length_s`."""

    def __init__(self, worker: Worker, model: ChatterboxModel, length_s: float) -> None:
        self._worker, self._model, self._length_s = worker, model, length_s
        self._thrown = random.Random(1)
        self.free_ms: list[float] = []
        self.idle_ms: list[float] = []
        self.busy = 0
        """Times that the device was not idle when the worker was free."""

    def one(self) -> None:
        """Unless it comes too late."""
        stop, rung = threading.Event(), list[float]()

        def ring() -> None:
            rung.append(time.perf_counter())
            stop.set()

        timer = threading.Timer(self._thrown.uniform(0, self._length_s), ring)
        timer.start()
        over = self._model.speak(TEXT, stop, lambda pcm, last: None)
        free = time.perf_counter()
        if not over:
            self.busy += not self._worker.idle
            self._worker.wait()
            self.free_ms.append((free - rung[0]) * 1000)
            self.idle_ms.append((time.perf_counter() - rung[0]) * 1000)
        timer.cancel()
        timer.join()


def measure(worker: Worker, model: ChatterboxModel, sentences: int, cancels: int) -> None:
    """Tells all figures."""
    whole, _ = said(model)
    began = time.perf_counter()
    firsts = [said(model)[1] for _ in range(sentences)]
    length_s = (time.perf_counter() - began) / sentences
    worker.tell(doing=f"first chunk after {sum(firsts) / len(firsts):.0f} ms on average")
    round_of, differ, compared = Cancels(worker, model, length_s), 0, 0
    while (done := len(round_of.free_ms)) < cancels:
        round_of.one()
        if done % COMPARED_EVERY == 0:
            compared += 1
            differ += said(model)[0] != whole
        if done % TOLD_EVERY == 0:
            worker.tell(doing=f"{done} of {cancels} cancels")
    worker.tell(
        over=True,
        first_ms=firsts,
        free_ms=round_of.free_ms,
        idle_ms=round_of.idle_ms,
        busy=round_of.busy,
        compared=compared,
        differ=differ,
        real_time_factor=length_s / (len(whole) / 2 / 24_000),
        tokens=len(whole) // 2 // SAMPLES_PER_TOKEN,
    )


def main(arguments: list[str]) -> None:
    """Build, load, measure, go on."""
    stack()
    worker = Worker(arguments)
    sentences, cancels = (int(one) for one in worker.arguments)
    with shrunken() if worker.small else nullcontext():
        worker.tell(doing="making its files")
        build(worker.folder, tokens=TOKENS)
        worker.tell(doing="loading it")
        model = ChatterboxModel(settings(worker))
        model.load()
    worker.ready()
    measure(worker, model, sentences, cancels)
    while True:
        said(model)


if __name__ == "__main__":
    main(sys.argv[1:])
