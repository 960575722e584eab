"""What an engine must be able to do, one small Protocol a kind."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Spoken:
    """One word and the samples [start, end) it spans.

    `speaker`: the session's own label of who said it, if it tells speakers apart.
    """

    text: str
    start: int
    end: int
    speaker: str = ""


@dataclass(frozen=True)
class Hypothesis:
    """What a recogniser makes of an utterance: samples [start, end) of the call, at 16 kHz."""

    utterance: int
    text: str
    start: int
    end: int
    final: bool
    words: tuple[Spoken, ...] = ()
    speaker: str = ""
    """The label of who says most of it."""
    settled: bool = False
    """A partial that will be the final if nothing more is said."""
    second: float | None = None
    """A second look at an utterance whose final was told, not a partial. By so many nats a command or a
    question's opening fits the sound better than a backchannel does; 0.0 where neither fits."""


class SttSession(Protocol):
    """One call, one channel. `feed` and `begin`/`finish` never wait for the model.

    The owner calls `begin(utterance, first)` at an onset (pre-roll included), `feed`s mono int16
    PCM at 16 kHz from that position on, and `finish`es; one final `Hypothesis` follows for every
    utterance begun, in order, even if it is empty or the engine failed on it.

    A session may also have `look_again()`: one more `Hypothesis` of what was finished last, with `second`;
    False where none follows.
    And three properties: `dead`, why it is over ("" while it lives); `worked_on`, how many samples it has
    worked on (None until its model is loaded), so that a hang is told from silence; and `runs`, whether it
    is at work or waits for a core, so that a hang is told from want of CPU.
    """

    def begin(self, utterance: int, first: int) -> None: ...

    def feed(self, pcm: bytes) -> None: ...

    def finish(self) -> None: ...

    def settle(self) -> None:
        """The speaker pauses: as a settled partial, what the final would be if it ended here.

        An engine that can't tell before the end does nothing.
        """
        ...

    def resume(self) -> None:
        """He goes on after all: what was settled is open again. Nothing to do if nothing was."""
        ...

    def results(self) -> AsyncIterator[Hypothesis]:
        """Partials and finals as they come; ends after `close`. Raises EngineError when it died."""
        ...

    async def close(self) -> None: ...


class SttEngine(Protocol):
    """Loads once per process; opens a session per call and channel."""

    async def load(self) -> None:
        """Return when the first utterance would be recognised at full speed (model warm)."""
        ...

    async def open(self) -> SttSession:
        """Raises EngineError; `Full` when there are as many sessions as there may be."""
        ...

    async def close(self) -> None: ...


class BatchStt(Protocol):
    """Recognises recorded sound; slower is allowed, waiting for it is not: it has all it needs."""

    async def load(self) -> None: ...

    async def transcribe(self, pcm: bytes, first: int) -> Hypothesis:
        """The words of mono int16 PCM at 16 kHz that begins at sample `first` of the call.

        Raises EngineError. Cancelled, it stops the engine and waits for that.
        """
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Chunk:
    """A stretch of synthesised sound (mono int16 PCM) and the words that begin in it.

    Word positions count samples from the first sample of this synthesis.
    """

    pcm: bytes
    words: tuple[Spoken, ...] = field(default=())


class Voice(Protocol):
    """Text to speech. Closing the generator (`aclosing`) stops the synthesis thread and waits for it."""

    @property
    def rate(self) -> int:
        """Samples per second of the sound it makes."""
        ...

    async def load(self) -> None: ...

    def stream(self, text: str) -> AsyncGenerator[Chunk, None]: ...

    async def close(self) -> None: ...


class TurnListener(Protocol):
    """Tells by the sound whether a caller who pauses is done."""

    def load(self) -> None:
        """Blocks until it can be asked. Raises EngineError."""
        ...

    def __call__(self, pcm: bytes) -> float:
        """Natural log-odds; of up to 8 s of mono int16 PCM at 16 kHz that end in the pause."""
        ...


class VadSession(Protocol):
    """Voice activity of one stream: probability of speech per window."""

    def push(self, pcm: bytes) -> list[float]:
        """Feed mono int16 PCM at 16 kHz of any length; the probability of each 32 ms window completed."""
        ...


class Vad(Protocol):
    """Makes sessions; `load` reads the model and warms it up.

    It may also have `judge(sessions, windows)`: a window of 32 ms for each of the sessions, a row of
    numbers of 16 bits as float32, and their probabilities in one go (`engines/vad_silero_onnx.py`).
    """

    def load(self) -> None: ...

    def open(self) -> VadSession: ...


@dataclass(frozen=True)
class EchoFigures:
    """How an echo canceller is doing.

    `erle_db`: how much quieter the echo became (echo return loss enhancement). `delay_ms`: how late
    the echo is, None until known. `residual_dbfs`: the level of echo to be expected in the output.
    """

    erle_db: float = 0.0
    delay_ms: float | None = None
    drift_ppm: float = 0.0
    residual_dbfs: float = -100.0


class EchoCanceller(Protocol):
    """Takes the echo of a loudspeaker out of a microphone. One per microphone, not thread-safe."""

    def process(self, near: bytes, far: bytes) -> bytes:
        """The microphone's next 10 ms without echo; `far` is what was played meanwhile.

        Both are mono int16 PCM at 16 kHz. As many samples come out, a few ms late.
        """
        ...

    def reset(self) -> None:
        """Forget what was learnt about the room."""
        ...

    @property
    def figures(self) -> EchoFigures: ...


class EngineError(Exception):
    """An engine failed; the message says what to do next."""


class Full(EngineError):
    """It works for as many as it may: one more is refused, which is no failure of it."""


class TryLater(EngineError):
    """It does not answer now, and has named a time: `after_s` seconds from now."""

    def __init__(self, message: str, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s
