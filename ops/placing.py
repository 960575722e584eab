"""Placing a call from WAV files: clips and cues go in, a folder with the recorded call comes out."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zmq

from bus.endpoints import Endpoints
from bus.errors import BargeinError
from bus.recording import Record, Recorder, read
from bus.wiretap import Heard
from ops import in_force, report, timeline, wav
from ops.cues import Cue, Watch
from ops.line import FRAME_MS, CallRefused, Line, Rates
from schemas import CallClosed, Event, TurnEnded

REST_S = 1.0
"""Sound recorded after the last answer, and the silence that counts as its end."""
READY_RETRY_S = 0.25


class NoRoom(BargeinError):
    """The call's folder can't be written."""

    exit_code = 73


@dataclass(frozen=True)
class Clip:
    """Something the caller says when its cue comes; 16 kHz mono."""

    sound: wav.Samples
    cue: Cue
    name: str = ""


@dataclass
class Placed:
    """A finished call: its folder and what became of it. `budget_ms`: a CANCEL's; 0: unknown."""

    call: str
    folder: Path
    seconds: float
    spoken_at_s: list[float] = field(default_factory=list)
    timed_out: bool = False
    budget_ms: float = 0


class Caller:
    """Says each clip when its cue has come, silence otherwise."""

    def __init__(self, line: Line, clips: Sequence[Clip], longest_wait_s: float = 15.0) -> None:
        self._line, self._clips = line, list(clips)
        self._wait_s = longest_wait_s
        self.watch = Watch()
        self.track: list[wav.Samples] = []
        self.spoken_at_s: list[float] = []
        self.timed_out = False
        self._saying: wav.Samples = np.zeros(0, np.int16)
        self._last_news_s = 0.0
        self._hung_up = False

    def heard(self, event: Event) -> None:
        """What the fleet says about this call."""
        self._hung_up = self._hung_up or isinstance(event, CallClosed)
        if isinstance(event, TurnEnded) and event.outcome in ("completed", "failed"):
            self.watch.agent_ended_s = max(
                self._line.speaker.end / self._line.rates.agent, self.watch.now_s
            )

    async def talk(self) -> None:
        """Until the last clip was answered, or nothing has happened for `longest_wait_s`."""
        size = self._line.rates.caller * FRAME_MS // 1000
        async for number in self._line.frames():
            self.watch.now_s = number * FRAME_MS / 1000
            frame = self._frame(size)
            self.track.append(frame)
            self._line.send(frame.tobytes())
            self._look()
            if self._over():
                return

    def _frame(self, size: int) -> wav.Samples:
        if not len(self._saying) and self._clips and self.watch.due(self._clips[0].cue):
            self._saying = self._clips.pop(0).sound
            self.spoken_at_s.append(self.watch.now_s)
        frame = np.zeros(size, np.int16)
        now, self._saying = self._saying[:size], self._saying[size:]
        frame[: len(now)] = now
        if len(now):
            self.watch.caller_until_s = self._last_news_s = self.watch.now_s + FRAME_MS / 1000
        return frame

    def _look(self) -> None:
        speaker, rate = self._line.speaker, self._line.rates.agent
        if speaker.turn:
            self.watch.agent_began_s = speaker.began / rate
            self._last_news_s = max(self._last_news_s, min(self.watch.now_s, speaker.end / rate))

    def _over(self) -> bool:
        if self._hung_up:
            return True
        if self._clips or len(self._saying):
            self.timed_out = self.watch.now_s - self._last_news_s > self._wait_s
            return self.timed_out
        if self.watch.due(Cue("silent", REST_S)):
            return True
        self.timed_out = self.watch.now_s - self._last_news_s > self._wait_s
        return self.timed_out


class Talker(Protocol):
    """Whoever is at the caller's end: clips with cues, or somebody at a microphone."""

    track: list[wav.Samples]
    spoken_at_s: list[float]
    timed_out: bool

    def heard(self, event: Event) -> None:
        """What the fleet says about this call."""

    async def talk(self) -> None:
        """Send sound until the call is to be ended."""


@dataclass(frozen=True)
class Plan:
    """Where the call goes and what is kept of it.

    `ready_wait_s`: how long a fleet that is not ready yet is asked again. `header`: what the trace
    begins with (ops.in_force). `attended`: a person calls, who may be asked whether he is still there.
    """

    where: Endpoints
    calls: Path
    rates: Rates | None = None
    ready_wait_s: float = 0.0
    watch: Callable[[Heard], None] | None = None
    header: dict[str, Any] | None = None
    attended: bool = False


async def place(plan: Plan, talker: Callable[[Line], Talker]) -> Placed:
    """Call, talk, hang up; leaves caller.wav, agent.wav and trace.msgpack in a folder of its own.

    Raises CallRefused, NoRoom.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + plan.ready_wait_s
    try:
        while True:
            try:
                return await _attempt(context, plan, talker)
            except CallRefused:
                if loop.time() >= deadline:
                    raise
                await asyncio.sleep(READY_RETRY_S)
    finally:
        await loop.run_in_executor(None, context.term)


async def _attempt(
    context: zmq.Context[zmq.Socket[bytes]], plan: Plan, talker: Callable[[Line], Talker]
) -> Placed:
    loop = asyncio.get_running_loop()
    who: Talker | None = None
    line = Line(
        context,
        plan.where,
        plan.rates,
        on_event=lambda event: who.heard(event) if who else None,
        attended=plan.attended,
    )
    folder = _folder(plan.calls, line.call)
    trace = folder / "trace.msgpack"
    recorder = Recorder(context, plan.where, trace, line.call, plan.watch, plan.header)
    try:
        if not await loop.run_in_executor(None, recorder.open):
            raise CallRefused("the broker does not answer; start the fleet with `bargein up`")
        recorder.start()
        async with line:
            who = talker(line)
            await who.talk()
        await _settled()
    except BaseException:
        line.close()
        if who is None:
            shutil.rmtree(folder)
        raise
    finally:
        await loop.run_in_executor(None, recorder.stop)
    _keep(folder, line, who)
    seconds = line.sent / line.rates.caller
    budget_ms = in_force.release_ms(plan.header or {})
    return Placed(line.call, folder, seconds, who.spoken_at_s, who.timed_out, budget_ms)


async def _settled() -> None:
    """The last events of the call reach the recorder: they left before the door's answer did."""
    await asyncio.sleep(0.2)


def _folder(calls: Path, call: str) -> Path:
    try:
        folder = calls / call
        folder.mkdir(parents=True)
        probe = folder / "probe"
        probe.write_bytes(bytes(65536))
        probe.unlink()
    except OSError as error:
        with suppress(OSError):
            shutil.rmtree(calls / call, ignore_errors=True)
        raise NoRoom(
            f"{calls}: can't write the call's recording ({error.strerror}); make room and call again"
        ) from None
    return folder


def _keep(folder: Path, line: Line, who: Talker) -> None:
    sound = np.concatenate(who.track) if who.track else np.zeros(0, np.int16)
    wav.write(folder / "caller.wav", sound, line.rates.caller)
    wav.write(folder / "agent.wav", line.recording(), line.rates.agent)
    meta = {"call": line.call, "t0_ns": line.t0_ns, "spoken_at_s": who.spoken_at_s}
    (folder / "call.json").write_text(json.dumps(meta, indent=1) + "\n")


def write_report(placed: Placed) -> list[Record]:
    """transcript.jsonl, summary.json and timeline.png beside the recording; the records."""
    _, records = read(placed.folder / "trace.msgpack")
    t0_ns = json.loads((placed.folder / "call.json").read_text())["t0_ns"]
    lines = [json.dumps(line) for line in report.transcript_lines(records)]
    (placed.folder / "transcript.jsonl").write_text("\n".join(lines) + "\n")
    summary = json.dumps(report.summary(records), indent=1)
    (placed.folder / "summary.json").write_text(summary + "\n")
    timeline.draw(
        placed.folder / "timeline.png",
        placed.folder / "caller.wav",
        placed.folder / "agent.wav",
        records,
        t0_ns,
    )
    return records
