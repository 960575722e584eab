"""A sound card in a simulated room, in real time: what it is given to play comes back as an echo.

An ops.sound_card.SoundCard, with a thread that asks for and delivers 20 ms at a time like PortAudio's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from ops.sound_card import Ends
from soak.echo_path import BLOCK, RATE, Ear, EchoPath, Floats, Room


class RoomCard:
    """Both ends at 16 kHz. `say` makes somebody in the room speak from now on."""

    def __init__(self, room: Room, agent_dbfs: float) -> None:
        self._path, self._ear = EchoPath(room, agent_dbfs), Ear(room)
        self._lock = threading.Lock()
        self._saying: Floats = np.zeros(0)
        self._pending = b""

    @contextmanager
    def running(
        self, ends: Ends, microphone_hz: int, loudspeaker_hz: int, block_ms: int
    ) -> Iterator[None]:
        """The thread runs while the block lasts."""
        if (microphone_hz, loudspeaker_hz, block_ms) != (RATE, RATE, 20):
            raise ValueError("this card has one rate, 16 kHz, and blocks of 20 ms")
        over = threading.Event()
        thread = threading.Thread(target=self._run, args=(ends, over.wait), name="room-card")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def say(self, sound: Floats) -> None:
        """±1 is full scale; behind what is being said already."""
        with self._lock:
            self._saying = np.concatenate((self._saying, sound))

    def _run(self, ends: Ends, over: Callable[[float], bool]) -> None:
        due = time.monotonic()
        while not over(max(0.0, due - time.monotonic())):
            self.tick(ends)
            due += BLOCK / RATE

    def tick(self, ends: Ends) -> None:
        """20 ms at the loudspeaker; the microphone's clock may make it one block more or less."""
        echo = self._path.hear(np.frombuffer(ends.sound(BLOCK), np.int16))
        with self._lock:
            said, self._saying = self._saying[: len(echo)], self._saying[len(echo) :]
        self._pending += self._ear.record(echo, said).tobytes()
        while len(self._pending) >= 2 * BLOCK:
            block, self._pending = self._pending[: 2 * BLOCK], self._pending[2 * BLOCK :]
            ends.hear(block)
