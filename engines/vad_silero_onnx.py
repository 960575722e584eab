"""Silero VAD on onnxruntime, for many calls: caller PCM in, probabilities of speech out."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from engines.protocols import EngineError

WINDOW = 512
WINDOW_BYTES = 2 * WINDOW
CONTEXT = 64
"""Samples of the window before that the model wants in front of each window (since v5)."""
STATE = (2, 1, 128)
RATE = 16_000
SR = np.array(RATE, np.int64)
LARGEST_BATCH = 32
"""Windows; 1.5 ms of one core, without the GIL."""
FEW = 8
"""Sessions up to which a window is answered in the same pass of the loop."""
LINGER_S = 0.005
"""So long, with more sessions, a window waits for others: at 50 calls they come every 0.6 ms."""
FULL_SCALE = 32768.0
MODEL = "silero_vad.onnx"

Floats = NDArray[np.float32]


class SileroOnnxVad:
    """Vad of `silero_vad.onnx`: one model for all sessions, the GIL is released while it runs."""

    def __init__(self, model: Path | None = None) -> None:
        """`model`: the .onnx file; None takes the one inside the installed silero-vad wheel."""
        self._path = model
        self._model: Any = None
        self._batch: Batch | None = None

    def load(self) -> None:
        """Read the model and run one window.

        Raises EngineError when onnxruntime or the model file is missing.
        """
        self._model = _session(self._path or installed_model())
        self._batch = Batch(self._model)
        self.open().push(bytes(WINDOW_BYTES))

    def open(self) -> SileroOnnxSession:
        """A session with a fresh state. Raises EngineError before `load`."""
        if self._batch is None:
            raise EngineError("silero VAD has no model yet: call load() before open()")
        return SileroOnnxSession(self._model, self._batch)


class Asked(NamedTuple):
    """A window of a session, and where its probability goes."""

    session: SileroOnnxSession
    sound: Floats
    answer: asyncio.Future[float]


class Batch:
    """Windows of many sessions in one run: 52 µs each when there are eight, 105 µs alone.

    The figures are the same to the last bit. The busier the process, the larger the batches.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._asked: list[Asked] = []
        self.sessions: WeakSet[SileroOnnxSession] = WeakSet()

    def ask(self, session: SileroOnnxSession, sound: Floats) -> asyncio.Future[float]:
        """The probability of a window, context in front; at most one at a time from a session."""
        loop = asyncio.get_running_loop()
        if not self._asked:
            if len(self.sessions) > FEW:
                loop.call_later(LINGER_S, self._answer)
            else:
                loop.call_soon(self._answer)
        asked = Asked(session, sound, loop.create_future())
        self._asked.append(asked)
        return asked.answer

    def _answer(self) -> None:
        asked, self._asked = self._asked, []
        for first in range(0, len(asked), LARGEST_BATCH):
            some = asked[first : first + LARGEST_BATCH]
            try:
                self._run(some)
            except Exception as error:  # noqa: BLE001 - each asker gets it; none waits for ever
                for one in some:
                    if not one.answer.done():
                        one.answer.set_exception(error)

    def _run(self, asked: list[Asked]) -> None:
        sound = np.stack([one.sound for one in asked])
        state = np.concatenate([one.session.state for one in asked], axis=1)
        probability, states = self._model.run(None, {"input": sound, "state": state, "sr": SR})
        for number, one in enumerate(asked):
            one.session.state = states[:, number : number + 1]
            if not one.answer.done():  # the call may be over
                one.answer.set_result(float(probability[number, 0]))


class SileroOnnxSession:
    """Voice activity of one stream: its state, its context and the samples of an open window."""

    def __init__(self, model: Any, batch: Batch) -> None:
        self._model, self._batch = model, batch
        batch.sessions.add(self)
        self.state: Floats = np.zeros(STATE, np.float32)
        self._context: Floats = np.zeros(CONTEXT, np.float32)
        self._rest = bytearray()

    def push(self, pcm: bytes) -> list[float]:
        """Probability (0..1) of each 512-sample window of 16 kHz int16 PCM completed by `pcm`."""
        return [self._probability(sound) for sound in self._sounds(pcm)]

    async def push_soon(self, pcm: bytes) -> list[float]:
        """The same, together with what other sessions are pushed in this pass of the loop."""
        return [await self._batch.ask(self, sound) for sound in self._sounds(pcm)]

    def _sounds(self, pcm: bytes) -> list[Floats]:
        """The windows completed by `pcm`, each with the end of the one before in front."""
        self._rest += pcm
        whole = len(self._rest) // WINDOW_BYTES * WINDOW_BYTES
        if not whole:
            return []
        samples = np.frombuffer(bytes(self._rest[:whole]), "<i2").astype(np.float32) / FULL_SCALE
        del self._rest[:whole]
        samples = np.concatenate((self._context, samples))
        self._context = samples[-CONTEXT:]
        starts = range(0, len(samples) - CONTEXT, WINDOW)
        return [samples[start : start + CONTEXT + WINDOW] for start in starts]

    def _probability(self, sound: Floats) -> float:
        asked = {"input": sound[np.newaxis], "state": self.state, "sr": SR}
        probability, self.state = self._model.run(None, asked)
        return float(probability.item())


def installed_model() -> Path:
    """Where the silero-vad wheel keeps its model. Looks without importing it: it imports torch.

    Raises EngineError when the wheel is not installed or holds no such file.
    """
    spec = find_spec("silero_vad")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "data" / MODEL
        if path.is_file():
            return path
    raise EngineError(f"{MODEL} not found: pip install --no-deps silero-vad, or name the file")


def _session(path: Path) -> Any:
    """An onnxruntime session on one thread that never spins: a window takes 0.1 ms, not a core."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError("onnxruntime is missing: pip install 'bargein[vad-onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if not path.is_file():
        raise EngineError(f"no VAD model at {path}: name an existing silero .onnx file")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
