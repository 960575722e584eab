"""A model of NeMo that hears whole recordings (Parakeet) as a BatchStt; it stops between any two layers."""

from __future__ import annotations

import asyncio
import importlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.nemo_stack import NemoSettings, given_back, out_of_memory, restored, short, unfit
from engines.protocols import EngineError, Hypothesis, Spoken

RATE = 16_000
LONGEST = 120 * RATE
"""Samples in one go: attention needs memory by their square. Longer sound is cut where it is quietest."""
SEARCHED = 10 * RATE
BLOCK = 320


class _Stop(BaseException):
    """Raised in a hook; leaves `_transcribe` nowhere."""


@dataclass(eq=False)
class _Job:
    """One stretch of sound, seen from the loop and from the thread."""

    sound: npt.NDArray[np.float32]
    stop: threading.Event
    over: asyncio.Event
    words: tuple[tuple[str, float, float], ...] = ()
    wrong: str = ""


class NemoBatch:
    """One stretch at a time, on a thread of its own."""

    def __init__(self, settings: NemoSettings | None = None) -> None:
        self._settings = settings or NemoSettings()
        self._thread = ThreadPoolExecutor(1, "nemo-batch")
        self._one = asyncio.Semaphore(1)
        self._model: Any = None
        self._now: _Job | None = None

    async def load(self) -> None:
        """Weights on the device, and a second of silence to warm up; nothing if they are there.

        Raises EngineError; nothing of the weights is kept then.
        """
        loop = asyncio.get_running_loop()
        if wrong := await loop.run_in_executor(self._thread, self._load):
            await loop.run_in_executor(self._thread, given_back)
            raise EngineError(wrong)

    async def transcribe(self, pcm: bytes, first: int) -> Hypothesis:
        """All words of mono int16 PCM at 16 kHz; positions are those of the call. Raises EngineError.

        Cancelled, it returns when the model has stopped.
        """
        if self._model is None:
            raise EngineError("this recogniser is not loaded; await load() before transcribe()")
        sound = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
        words: list[Spoken] = []
        async with self._one:
            for start, end in stretches(sound):
                words += await self._words(sound[start:end], first + start)
        text = " ".join(word.text for word in words)
        return Hypothesis(first, text, first, first + len(sound), True, tuple(words))

    async def close(self) -> None:
        """When the thread has ended."""
        self._thread.submit(setattr, self, "_model", None)
        await asyncio.to_thread(self._thread.shutdown)

    async def _words(self, sound: npt.NDArray[np.float32], first: int) -> list[Spoken]:
        job, loop = _Job(sound, threading.Event(), asyncio.Event()), asyncio.get_running_loop()
        self._thread.submit(self._transcribe, job, loop)
        cancelled = False
        while not job.over.is_set():
            try:
                await job.over.wait()
            except asyncio.CancelledError:
                cancelled = True
                job.stop.set()
        if cancelled:
            raise asyncio.CancelledError
        if job.wrong:
            raise EngineError(job.wrong)
        return within(job.words, first, first + len(sound))

    # -- in the thread ---------------------------------------------------------------------------

    def _load(self) -> str:
        """What went wrong, "" if nothing: an exception's frames would hold the weights."""
        name = self._settings.batch_model
        if self._model is not None:
            return ""
        try:
            model = restored("nemo.batch_model", name, self._settings)
            self._set_up(model)
            model.transcribe([np.zeros(RATE, np.float32)], **HOW)
            self._model = model
        except EngineError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - of five libraries; it always means: this won't do
            return unfit("nemo.batch_model", name, error, self._settings)
        return ""

    def _set_up(self, model: Any) -> None:
        name = self._settings.batch_model
        if not hasattr(model, "joint"):
            raise EngineError(
                f"{name} is no transducer ({type(model).__name__}): name another in nemo.batch_model"
            )
        open_dict = importlib.import_module("omegaconf").open_dict
        with open_dict(model.cfg.decoding):
            model.cfg.decoding.compute_timestamps = True
            model.cfg.decoding.greedy.use_cuda_graph_decoder = (
                False  # another thread has the device too
            )
        model.change_decoding_strategy(model.cfg.decoding, verbose=False)
        for layer in model.encoder.layers:
            layer.register_forward_pre_hook(self._look)

    def _look(self, module: Any, inputs: Any) -> None:
        if self._now is not None and self._now.stop.is_set():
            raise _Stop

    def _transcribe(self, job: _Job, loop: asyncio.AbstractEventLoop) -> None:
        """No exception leaves it: a Future that holds one holds the model's memory."""
        self._now = job
        torch = importlib.import_module("torch")
        try:
            if not job.stop.is_set():
                said = self._model.transcribe([job.sound], **HOW)[0]
                job.words = tuple((w["word"], w["start"], w["end"]) for w in said.timestamp["word"])
        except _Stop:
            pass
        except torch.OutOfMemoryError as error:
            job.wrong = out_of_memory(self._settings.device, error)
        except Exception as error:  # noqa: BLE001 - of five libraries; it always means: not transcribed
            job.wrong = f"NeMo failed on {len(job.sound) / RATE:.1f} s of sound: {short(error)}"
        finally:
            self._now = None
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
            loop.call_soon_threadsafe(job.over.set)


HOW: dict[str, Any] = {"batch_size": 1, "timestamps": True, "verbose": False}


def stretches(sound: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
    """[start, end) of pieces not longer than LONGEST, cut at the quietest 20 ms of their last 10 s."""
    cuts = [0]
    while len(sound) - cuts[-1] > LONGEST:
        begin = cuts[-1] + LONGEST - SEARCHED
        blocks = sound[begin : begin + SEARCHED].reshape(-1, BLOCK)
        cuts.append(begin + int(np.square(blocks).sum(axis=1).argmin()) * BLOCK + BLOCK // 2)
    edges = [*cuts, len(sound)]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def within(words: tuple[tuple[str, float, float], ...], first: int, end: int) -> list[Spoken]:
    """Words at seconds of a stretch, as samples of the call: in order, and inside of [first, end]."""
    found, at = list[Spoken](), first
    for text, start_s, end_s in words:
        start = min(max(at, first + round(start_s * RATE)), end)
        at = min(max(start, first + round(end_s * RATE)), end)
        found.append(Spoken(text, start, at))
    return found
