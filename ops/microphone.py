"""A local microphone and loudspeaker as a line: a sound card on one side, a `Line` on the other.

The echo of the agent is taken out here, before the caller's samples are numbered: only this process
knows to the sample what the loudspeaker was given. docs/local-audio.md says how.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass

import numpy as np
import samplerate

from engines.echo import FRAME, RATE, LocalEcho
from engines.echo_webrtc import WebrtcEcho
from engines.energy import level_dbfs
from engines.protocols import EchoFigures, EngineError
from ops.line import FRAME_MS, Line
from ops.sound_card import Ends, NoSoundCard, SoundCard
from ops.wav import Samples
from schemas import CallClosed, Event

SLIP_MS = 60
"""How far the loudspeaker's own clock may run from the call's before its place is set anew."""
FRAME_BYTES = 2 * FRAME


@dataclass(frozen=True)
class Block:
    """What the sound card has just recorded, or has just been given to play."""

    pcm: bytes
    played: bool = False


@dataclass
class Meters:
    """Levels of the last 20 ms in dBFS; `echo` is how the canceller is doing, None without one."""

    microphone_dbfs: float = -100.0
    caller_dbfs: float = -100.0
    agent_dbfs: float = -100.0
    echo: EchoFigures | None = None


class Microphone:
    """Frames of 20 ms from the microphone, less the echo; the agent's sound to the loudspeaker.

    The card's threads only copy samples and pass blocks over; everything else happens in the loop,
    in the order in which the card asked.
    """

    def __init__(self, line: Line, card: SoundCard, headphones: bool = False) -> None:
        """`headphones`: nothing the agent says reaches the microphone. Raises NoSoundCard."""
        if line.rates.caller != RATE:
            raise ValueError(f"a microphone is opened at {RATE} Hz, not {line.rates.caller}")
        self._line, self._card = line, card
        self._loop = asyncio.get_running_loop()
        self._blocks: asyncio.Queue[Block | None] = asyncio.Queue()
        self._echo = None if headphones else _canceller()
        self._reference = Played(line.rates.agent)
        self._place: int | None = None
        self.meters = Meters()
        self.track: list[Samples] = []
        self.spoken_at_s: list[float] = []
        self.timed_out = False

    def heard(self, event: Event) -> None:
        """The person hears it; whether the agent has hung up, he is told."""
        if isinstance(event, CallClosed):
            self.hang_up()

    # -- on the card's threads -------------------------------------------------------------------

    def hear(self, pcm: bytes) -> None:
        """A block from the microphone."""
        self._loop.call_soon_threadsafe(self._blocks.put_nowait, Block(pcm))

    def sound(self, count: int) -> bytes:
        """The next `count` samples for the loudspeaker, without a gap to those before."""
        rate, now = self._line.rates.agent, self._line.now
        if self._place is None or abs(self._place - now) > SLIP_MS * rate // 1000:
            self._place = now
        pcm = self._line.speaker.slice(self._place, count).tobytes()
        self._place += count
        self._loop.call_soon_threadsafe(self._blocks.put_nowait, Block(pcm, played=True))
        return pcm

    # -- in the loop -----------------------------------------------------------------------------

    async def talk(self) -> None:
        """Send what the microphone hears until Ctrl-C."""
        self._loop.add_signal_handler(signal.SIGINT, self.hang_up)
        rates, ends = self._line.rates, Ends(self.hear, self.sound)
        try:
            with self._card.running(ends, rates.caller, rates.agent, FRAME_MS):
                while block := await self._blocks.get():
                    self._take(block)
        finally:
            self._loop.remove_signal_handler(signal.SIGINT)

    def hang_up(self) -> None:
        """End the call when what has come so far is sent."""
        self._blocks.put_nowait(None)

    def _take(self, block: Block) -> None:
        if block.played:
            self.meters.agent_dbfs = level_dbfs(block.pcm)
            if self._echo is not None:
                self._echo.play(self._reference.push(block.pcm))
            return
        clean = self._cleaned(block.pcm)
        self.meters.microphone_dbfs = level_dbfs(block.pcm)
        self.meters.caller_dbfs = level_dbfs(clean)
        self.track.append(np.frombuffer(clean, np.int16))
        self._line.send(clean)

    def _cleaned(self, pcm: bytes) -> bytes:
        if self._echo is None:
            return pcm
        frames = (pcm[at : at + FRAME_BYTES] for at in range(0, len(pcm), FRAME_BYTES))
        clean = b"".join(map(self._echo.process, frames))
        self.meters.echo = self._echo.figures
        return clean


class Played:
    """What was played goes in at the agent's rate and comes out at the microphone's."""

    def __init__(self, rate: int) -> None:
        self._ratio = RATE / rate
        self._resampler = None if rate == RATE else samplerate.Resampler("sinc_fastest", 1)

    def push(self, pcm: bytes) -> bytes:
        """int16 both ways."""
        if self._resampler is None:
            return pcm
        sound = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
        out = np.clip(self._resampler.process(sound, self._ratio), -1, 1)
        return np.asarray(np.rint(out * 32767), np.int16).tobytes()


def _canceller() -> LocalEcho:
    try:
        return LocalEcho(WebrtcEcho())
    except EngineError as error:
        raise NoSoundCard(f"{error}, or use headphones and say --headphones") from None
