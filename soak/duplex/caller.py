"""In comes a prepared trial; out goes a caller who says it over the agent at a sample he remembers."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from ops import wav
from ops.line import FRAME_MS, Line
from ops.speaker import Speaker
from schemas import Event, TurnEnded
from soak.duplex.sounds import Prepared

SPEAKS_AT_S = 0.5
VOICED_DBFS = -38.0
"""The agent is in mid-sentence: its last 60 ms are louder."""
WATCH_S = {"interruption": 7.0, "backchannel": 2.5, "noise": 2.5, "pause": 7.0, "resumption": 7.0}
"""Longest observation after the caller's last sample."""
UNMOVED_S = 3.0
"""An agent that has not stopped this long after an interruption's end will not."""
SILENT_S = 1.2
"""Silence after the answer that shows that no second one comes."""
NO_ANSWER_S = 12.0
MEASURED_S = 2.0
"""After the caller's last sample, the harness must be on time this long."""
FADE_S = 0.3


class Placed(NamedTuple):
    """A frame as the line played it: the call's sample at which it began."""

    turn: int
    at: int
    pcm: bytes


class PlacingSpeaker(Speaker):
    """A line's speaker that remembers where it placed each frame."""

    def __init__(self, rate: int) -> None:
        super().__init__(rate)
        self.placed: list[Placed] = []

    def play(self, turn: int, pcm: bytes, now: int) -> bool:
        taken = super().play(turn, pcm, now)
        if taken and pcm:
            self.placed.append(Placed(turn, self.end - len(pcm) // 2, pcm))
        return taken


Phase = Literal["asking", "waiting", "saying", "watching", "over"]


class TrialCaller:
    """The caller's end of one trial. `said_at` is the call's sample at which the trial's sound began."""

    def __init__(self, line: Line, prepared: Prepared) -> None:
        self._line, self._prepared = line, prepared
        line.speaker = self.speaker = PlacingSpeaker(line.rates.agent)
        self.track: list[wav.Samples] = []
        self.spoken_at_s: list[float] = []
        self.timed_out = False
        self.said_at = -1
        self.late_ms = 0.0
        self._phase: Phase = "asking" if prepared.trial.over_agent else "waiting"
        self._saying = prepared.request
        self._size = line.rates.caller * FRAME_MS // 1000
        self._ended_turn = 0
        self._over_turn = 0
        self._bed_from = -1
        self._since_s = 0.0

    def heard(self, event: Event) -> None:
        """What the fleet says about this call."""
        if isinstance(event, TurnEnded) and event.outcome in ("completed", "failed"):
            self._ended_turn = max(self._ended_turn, event.turn)

    async def talk(self) -> None:
        """Frame after frame until the trial has been watched long enough."""
        async for number in self._line.frames():
            self._note_lateness(number)
            frame = self._frame(number)
            self.track.append(frame)
            self._line.send(frame.tobytes())
            if self._phase == "over":
                return

    def _note_lateness(self, number: int) -> None:
        """How late a frame leaves around the trial's sound: what is measured there is wrong by as much."""
        due_ns = self._line.t0_ns + (number + 1) * FRAME_MS * 1_000_000
        since_s = number * FRAME_MS / 1000 - self._since_s
        if self._phase == "saying" or (self._phase == "watching" and since_s < MEASURED_S):
            self.late_ms = max(self.late_ms, (self._line.clock.now() - due_ns) / 1e6)

    def _frame(self, number: int) -> wav.Samples:
        now_s = number * FRAME_MS / 1000
        if now_s >= SPEAKS_AT_S:
            self._move(number * self._size, now_s)
        now, self._saying = self._saying[: self._size], self._saying[self._size :]
        if now_s < SPEAKS_AT_S:
            now, self._saying = now[:0], self._prepared.request
        frame = np.zeros(self._size, np.int16)
        frame[: len(now)] = now
        return self._with_bed(frame, number * self._size)

    def _move(self, sample: int, now_s: float) -> None:
        """From phase to phase, as the time and the agent's sound have it."""
        if self._phase == "asking" and not len(self._saying):
            self._phase, self._since_s = "waiting", now_s
        elif self._phase == "waiting":
            self._wait(sample, now_s)
        elif self._phase == "saying" and not len(self._saying):
            self._phase, self._since_s = "watching", now_s
        elif self._phase == "watching" and self._watched(now_s):
            self._phase = "over"

    def _wait(self, sample: int, now_s: float) -> None:
        trial = self._prepared.trial
        if not trial.over_agent or self._in_mid_sentence(sample):
            self._phase, self._since_s, self.said_at = "saying", now_s, sample
            self.spoken_at_s.append(now_s)
            self._saying = self._prepared.sound
            self._over_turn = self._line.speaker.turn
        elif now_s - self._since_s > NO_ANSWER_S + trial.after_s:
            self._phase, self.timed_out = "over", True

    def _in_mid_sentence(self, sample: int) -> bool:
        """Long enough into an answer, and sounding right now."""
        speaker, rate = self._line.speaker, self._line.rates.agent
        at = sample * rate // self._line.rates.caller
        if not speaker.turn or speaker.end < at - rate // 10:
            return False
        if self._bed_from < 0 and at - speaker.began > rate // 2:
            self._bed_from = sample
        lead_s = self._prepared.onset / self._line.rates.caller
        if at - speaker.began < max(0.3, self._prepared.trial.after_s - lead_s) * rate:
            return False
        recent = speaker.slice(max(0, at - rate * 60 // 1000), rate * 60 // 1000) / 32768.0
        return bool(10 * np.log10(np.mean(recent**2) + 1e-12) > VOICED_DBFS)

    def _watched(self, now_s: float) -> bool:
        """Whether nothing more is to be learnt."""
        trial, speaker = self._prepared.trial, self._line.speaker
        watched_s = now_s - self._since_s
        if watched_s >= WATCH_S[trial.kind] or trial.kind in ("backchannel", "noise"):
            return watched_s >= WATCH_S[trial.kind]
        if trial.kind == "interruption" and speaker.turn == self._over_turn:
            return watched_s >= UNMOVED_S and speaker.sounding(self._line.now)
        silent_s = now_s - speaker.end / speaker.rate
        return self._ended_turn >= speaker.turn > self._over_turn and silent_s >= SILENT_S

    def _with_bed(self, frame: wav.Samples, sample: int) -> wav.Samples:
        """Background noise from the beginning of the answer on, faded in; in an own turn from the first."""
        bed, trial = self._prepared.bed, self._prepared.trial
        if not trial.over_agent:
            self._bed_from = 0
        if not len(bed) or self._bed_from < 0:
            return frame
        since = sample - self._bed_from
        rising = (since + np.arange(len(frame))) / (FADE_S * self._line.rates.caller)
        under = bed[(since + np.arange(len(frame))) % len(bed)] * np.clip(rising, 0, 1)
        return np.asarray(np.clip(frame + under, -32768, 32767), np.int16)
