"""Callers who talk while the fleet is harmed: a seed goes in, calls with their accounts come out."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from actors.segments import Segment
from actors.transcript import read
from bus.endpoints import Endpoints
from bus.errors import BargeinError
from bus.settings import Settings
from ops import wav
from ops.cues import Cue
from ops.line import Line
from ops.placing import Caller, Clip, Plan, place
from schemas import CallClosed, Event
from soak import caller_set
from soak.chaos.account import Account, Fed, Words, by_content, by_position, words

RATE = 16_000
READY_S = 20.0
STAYS_S = (0.3, 6.0)
"""How long after his last words a caller hangs up."""
AUDIBLE = 200
"""Of 32768: the agent's voice, not its last echo."""
PAUSES_S = (0.8, 5.0)
CLIPS = (2, 6)


def sayings() -> list[caller_set.Clip]:
    """Clips of which pocketsphinx understands every word."""
    return [
        clip
        for kind in ("question", "long_request")
        for clip in caller_set.find(kind)
        if clip.pocketsphinx_live == clip.text
    ]


class ChaosCaller(Caller):
    """Notes when the fleet hangs up on him."""

    dropped = ""
    _said_all_s = 0.0
    _over_now = False

    def __init__(self, line: Line, clips: list[Clip], stays_s: float) -> None:
        super().__init__(line, clips)
        self._stays_s = stays_s

    def heard(self, event: Event) -> None:
        if isinstance(event, CallClosed) and not self._over_now:
            self.dropped = event.reason or "closed by the fleet"
        super().heard(event)

    def _over(self) -> bool:
        """He hangs up a while after his last words, whatever is being said."""
        if self._clips or len(self._saying):
            self._said_all_s = self.watch.now_s
        self._over_now = self._hung_up or self.watch.now_s - self._said_all_s > self._stays_s
        return self._over_now


@dataclass
class Call:
    """One call: what was said, and what became of it."""

    id: str
    began_ns: int
    ended_ns: int
    said: str
    dropped: str = ""
    error: str = ""
    account: Account = field(default_factory=Account)
    words: Words = field(default_factory=Words)
    heard: str = ""
    silences_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Callers:
    """`count` at once, call after call, until the time is up."""

    def __init__(self, settings: Settings, count: int, seed: int) -> None:
        self._settings, self._count, self._seed = settings, count, seed
        self._where = Endpoints(settings.run_dir)
        self._sayings = sayings()
        self.calls: list[Call] = []
        self.refused: list[str] = []
        self.waited_s: list[float] = []

    async def talk(self, until: Callable[[], bool]) -> None:
        """All of them, until `until` says so and each has hung up."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._caller(number, until))

    async def _caller(self, number: int, until: Callable[[], bool]) -> None:
        dice = random.Random(self._seed * 1000 + number)
        await asyncio.sleep(0.7 * number)
        while not until():
            await self._call(self._script(dice), dice.uniform(*STAYS_S))

    def _script(self, dice: random.Random) -> list[Clip]:
        """Questions at set times, whatever is answered: so the same seed says the same."""
        at_s, clips = 0.3, []
        for saying in dice.choices(self._sayings, k=dice.randint(*CLIPS)):
            clips.append(Clip(wav.read(saying.path), Cue("clock", round(at_s, 2)), saying.text))
            at_s += len(clips[-1].sound) / RATE + dice.uniform(*PAUSES_S)
        return clips

    async def _call(self, clips: list[Clip], stays_s: float) -> None:
        said = " ".join(clip.name for clip in clips)
        who: list[tuple[Line, ChaosCaller]] = []
        asked = time.monotonic()

        def talker(line: Line) -> ChaosCaller:
            self.waited_s.append(time.monotonic() - asked)
            who.append((line, ChaosCaller(line, clips, stays_s)))
            return who[0][1]

        plan = Plan(self._where, self._settings.calls_dir, ready_wait_s=READY_S)
        began_ns = time.monotonic_ns()
        try:
            placed = await place(plan, talker)
        except BargeinError as error:
            if not who:
                self.refused.append(str(error))
                return
            line, caller = who[0]
            self.calls.append(
                Call(line.call, began_ns, time.monotonic_ns(), said, caller.dropped, repr(error))
            )
            return
        call = Call(placed.call, began_ns, time.monotonic_ns(), said, who[0][1].dropped)
        call.silences_s = silences(placed.folder, placed.spoken_at_s, clips)
        self.calls.append(call)


def silences(folder: Path, spoken_at_s: list[float], clips: list[Clip]) -> list[float]:
    """After each thing the caller said, s until he heard something, or until he spoke again."""
    agent = wav.read(folder / "agent.wav")
    found = []
    for number, at_s in enumerate(spoken_at_s):
        end = int((at_s + len(clips[number].sound) / RATE) * RATE)
        until = int(spoken_at_s[number + 1] * RATE) if number + 1 < len(spoken_at_s) else len(agent)
        loud = np.flatnonzero(np.abs(agent[end:until].astype(np.int32)) > AUDIBLE)
        found.append((int(loud[0]) if len(loud) else until - end) / RATE)
    return found


def judge(call: Call, settings: Settings, fed: list[Fed]) -> None:
    """Fill in the accounts of a call that is over."""
    folder = settings.calls_dir / call.id
    if call.error:
        return
    caller = wav.read(folder / "caller.wav")
    segments = transcript(settings, call)
    strange = by_content(segments, caller.tobytes(), fed)
    call.account = replace(by_position(segments, len(caller)), strange=strange)
    call.heard = " ".join(one.text for one in segments if one.covers and one.text)
    call.words = words(call.said, call.heard)


def transcript(settings: Settings, call: Call) -> list[Segment]:
    """What stt wrote; nothing if it wrote nothing."""
    try:
        segments, _, problem = read(settings.transcript_dir / f"{call.id}.jsonl")
    except OSError as error:
        call.problems.append(f"no transcript: {error.strerror}")
        return []
    if problem:
        call.problems.append(problem)
    return segments


def tidy(call: Call, settings: Settings) -> None:
    """Nothing is left of a call that went well."""
    shutil.rmtree(settings.calls_dir / call.id, ignore_errors=True)
