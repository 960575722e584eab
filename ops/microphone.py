"""A local microphone and loudspeaker as a line: sound cards on one side, a `Line` on the other.

Needs the optional extra `audio` (sounddevice, PortAudio). There is no echo cancellation: use
headphones, or the agent hears itself.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack
from typing import Any

import numpy as np

from bus.errors import BargeinError
from ops.line import FRAME_MS, Line
from ops.wav import Samples
from schemas import Event


class NoSoundCard(BargeinError):
    """There is no way to hear or be heard here; the message says what to install."""

    exit_code = 69


class Microphone:
    """Frames of 20 ms from the microphone; the agent's sound to the loudspeaker.

    The two callbacks run on PortAudio's thread: they only pass frames over and copy samples.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._loop = asyncio.get_running_loop()
        self._frames: asyncio.Queue[bytes] = asyncio.Queue()
        self._streams = ExitStack()
        self.track: list[Samples] = []
        self.spoken_at_s: list[float] = []
        self.timed_out = False

    def heard(self, event: Event) -> None:
        """The person hears it."""

    def __enter__(self) -> Microphone:
        sounddevice = _sounddevice()
        rates = self._line.rates
        try:
            for stream, rate, callback in (
                (sounddevice.RawInputStream, rates.caller, self.hear),
                (sounddevice.RawOutputStream, rates.agent, self.sound),
            ):
                size = rate * FRAME_MS // 1000
                options = {"samplerate": rate, "blocksize": size, "channels": 1, "dtype": "int16"}
                self._streams.enter_context(stream(callback=callback, **options))
        except sounddevice.PortAudioError as error:
            self._streams.close()
            raise NoSoundCard(
                f"the sound card can't be opened ({error}); see `python -m sounddevice` for devices"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._streams.close()

    def hear(self, pcm: Any, frames: int, time: object, status: object) -> None:
        """A block from the microphone (PortAudio's input callback)."""
        self._loop.call_soon_threadsafe(self._frames.put_nowait, bytes(pcm))

    def sound(self, out: Any, frames: int, time: object, status: object) -> None:
        """A block for the loudspeaker (PortAudio's output callback): what sounds now."""
        out[:] = self._line.speaker.slice(self._line.now, frames).tobytes()

    async def talk(self) -> None:
        """Send what the microphone hears until Ctrl-C."""
        self._loop.add_signal_handler(signal.SIGINT, self._frames.put_nowait, b"")
        try:
            with self:
                while pcm := await self._frames.get():
                    self.track.append(np.frombuffer(pcm, np.int16))
                    self._line.send(pcm)
        finally:
            self._loop.remove_signal_handler(signal.SIGINT)


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise NoSoundCard(
            "sounddevice is not installed; run `.venv/bin/pip install -c constraints/core.txt "
            "-e '.[audio]'`"
        ) from None
    except OSError:
        raise NoSoundCard("PortAudio is missing; run `apt-get install libportaudio2`") from None
    return sounddevice
