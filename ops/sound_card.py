"""The sound card of this machine: blocks from its microphone come out, blocks for its loudspeaker go in.

Needs the optional extra `audio` (sounddevice, pywebrtc-audio) and PortAudio.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from bus.errors import BargeinError

EXTRA = "run `.venv/bin/pip install -c constraints/core.txt -e '.[audio]'`"


class NoSoundCard(BargeinError):
    """There is no way to hear or be heard here; the message says what to install."""

    exit_code = 69


@dataclass(frozen=True)
class Ends:
    """What a sound card calls, on threads of its own: mono int16 PCM in blocks of 20 ms.

    `hear` gets a block from the microphone; `sound` is asked for so many samples to be played next.
    """

    hear: Callable[[bytes], None]
    sound: Callable[[int], bytes]


class SoundCard(Protocol):
    """A microphone and a loudspeaker."""

    def running(
        self, ends: Ends, microphone_hz: int, loudspeaker_hz: int, block_ms: int
    ) -> AbstractContextManager[object]:
        """Both call `ends` while the block lasts. Raises NoSoundCard."""
        ...


class PortAudio:
    """The default devices of this machine, as sounddevice finds them."""

    def __init__(self) -> None:
        """Raises NoSoundCard, before anybody is called."""
        self._sounddevice = _sounddevice()
        try:
            for kind in ("input", "output"):
                self._sounddevice.query_devices(kind=kind)
        except (self._sounddevice.PortAudioError, ValueError) as error:
            raise _unopened(error) from None

    def running(
        self, ends: Ends, microphone_hz: int, loudspeaker_hz: int, block_ms: int
    ) -> AbstractContextManager[object]:
        """Open and start both streams. Raises NoSoundCard."""
        sounddevice = self._sounddevice

        def recorded(pcm: Any, frames: int, time: object, status: object) -> None:
            ends.hear(bytes(pcm))

        def wanted(out: Any, frames: int, time: object, status: object) -> None:
            out[:] = ends.sound(frames)

        streams = ExitStack()
        try:
            for stream, rate, callback in (
                (sounddevice.RawOutputStream, loudspeaker_hz, wanted),
                (sounddevice.RawInputStream, microphone_hz, recorded),
            ):
                options = {"samplerate": rate, "blocksize": rate * block_ms // 1000}
                streams.enter_context(
                    stream(callback=callback, channels=1, dtype="int16", **options)
                )
        except (sounddevice.PortAudioError, ValueError) as error:
            streams.close()
            raise _unopened(error) from None
        return streams


def _unopened(error: Exception) -> NoSoundCard:
    return NoSoundCard(
        f"no microphone or no loudspeaker can be opened ({error}); plug one in, and see "
        "`.venv/bin/python -m sounddevice` for the devices there are"
    )


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise NoSoundCard(f"sounddevice is not installed; {EXTRA}") from None
    except OSError:
        raise NoSoundCard("PortAudio is missing; run `apt-get install libportaudio2`") from None
    return sounddevice
