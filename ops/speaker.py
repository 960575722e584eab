"""The agent's end of a line: paced frames come in, a recording on the call's clock comes out. Pure."""

from __future__ import annotations

import numpy as np

from ops.wav import Samples

SECONDS_AHEAD = 60


class Speaker:
    """Plays each frame when it arrives, or right behind the one before; a cut silences the rest.

    Sample 0 of the recording is the call's beginning. All positions at `rate` Hz.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.turn = 0
        self.began = 0
        self._sound = np.zeros(SECONDS_AHEAD * rate, np.int16)
        self._end = 0
        self._turn_samples = 0
        self._fence = 0
        self.stale = 0

    def play(self, turn: int, pcm: bytes, now: int) -> bool:
        """Take a frame of `turn` at sample `now`; False when that turn was cut."""
        if turn <= self._fence:
            self.stale += 1
            return False
        samples = np.frombuffer(pcm, np.int16)
        at = max(now, self._end)
        if turn != self.turn:
            self.turn, self.began, self._turn_samples = turn, at, 0
        self._room(at + len(samples))
        self._sound[at : at + len(samples)] = samples
        self._end = at + len(samples)
        self._turn_samples += len(samples)
        return True

    def _room(self, end: int) -> None:
        if end > len(self._sound):
            more = np.zeros(max(SECONDS_AHEAD * self.rate, end - len(self._sound)), np.int16)
            self._sound = np.concatenate([self._sound, more])

    def cut(self, turn: int, now: int) -> int:
        """CANCEL: what was not yet played never is. How many samples of `turn` were played."""
        self._fence = max(self._fence, turn)
        if turn < self.turn:
            return 0
        played = self.played(now)
        self._sound[now : self._end] = 0
        self._turn_samples -= max(0, self._end - now)
        self._end = min(self._end, now)
        return played

    def played(self, now: int) -> int:
        """Samples of the current turn that have sounded until `now`."""
        return max(0, self._turn_samples - max(0, self._end - now))

    def sounding(self, now: int) -> bool:
        """Whether the agent's voice is being heard."""
        return now < self._end

    def slice(self, start: int, count: int) -> Samples:
        """`count` samples from `start` on, for a loudspeaker that plays them now (on any thread)."""
        sound = self._sound[start : start + count]
        return np.concatenate((sound, np.zeros(count - len(sound), np.int16)))

    @property
    def end(self) -> int:
        """Where the sound received so far ends."""
        return self._end

    def recording(self, length: int) -> Samples:
        """The first `length` samples of the call."""
        self._room(length)
        return self._sound[:length].copy()
