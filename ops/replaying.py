"""A trace goes in; an actor lives it again, call by call; what was compared and what differs come out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from actors.build import ACTORS
from bus.control import MANAGER
from bus.errors import BargeinError
from bus.recording import Record, Writer, read_trace
from bus.settings import Settings
from bus.wiretap import Heard
from ops import in_force, replay, replay_actor
from ops.replay_compare import Comparison, Zero, compare, compare_sound
from ops.replay_loop import on_replay_loop
from ops.replay_plan import NotReplayable, calls, plan
from schemas import Audio, Steps

LATE_NS = 10_000_000
"""A live deadline is noticed late by up to this; one that passes by itself in a replay never is."""


class UnknownActor(BargeinError):
    """No actor of that name."""

    exit_code = 2


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay has shown. `notes` say what the numbers don't: damage, what was left out."""

    trace: str
    actor: str
    settings: str
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """Nothing differs."""
        return not any(comparison.differences for comparison in self.comparisons)


@dataclass
class Replaying:
    """`base`: today's settings, which `current` makes those of the replay."""

    path: Path
    base: Settings
    actor: str = MANAGER
    call: str = ""
    current: bool = False

    def __post_init__(self) -> None:
        if self.actor not in ACTORS:
            raise UnknownActor(f"--actor {self.actor}: no such actor; one of {', '.join(ACTORS)}")
        self._trace = read_trace(self.path)
        self._notes = [self._trace.damage] if self._trace.damage else []
        self.said: list[Record] = []

    def run(self) -> Outcome:
        """Raises NotATrace, NotReplayable, ReplayFailed."""
        settings = self.base if self.current else self._recorded_settings()
        comparisons = tuple(self._one(call, settings) for call in self._calls())
        return Outcome(
            trace=str(self.path),
            actor=self.actor,
            settings="current" if self.current else "recorded",
            comparisons=comparisons,
            notes=tuple(self._notes),
        )

    def _recorded_settings(self) -> Settings:
        if "settings" not in self._trace.header:
            raise NotReplayable(
                f"{self.path}: does not say which settings were in force; "
                "replay with --current-settings"
            )
        if unsure := self._trace.header.get("unsure"):
            self._notes.append(f"not sure of the recorded {', '.join(unsure)}")
        return in_force.rebuilt(self._trace.header["settings"], self.base)

    def _calls(self) -> list[str]:
        """Those to replay: the one asked for, or all that are whole from their beginning."""
        found = calls(self._trace.records)
        if self.call:
            found = [call for call in found if call == self.call]
        if not found:
            asked = f"call {self.call}" if self.call else "a call"
            raise NotReplayable(f"{self.path}: holds no message of {asked}; record one")
        if self.actor != MANAGER or len(found) == 1:
            return found
        whole = [call for call in found if self._is_whole(call)]
        if not whole:
            raise NotReplayable(f"{self.path}: no call is whole: " + "; ".join(self._notes))
        return whole

    def _is_whole(self, call: str) -> bool:
        try:
            plan(self._trace.records, call)
        except NotReplayable as error:
            self._notes.append(f"left out: {error}")
            return False
        return True

    def _one(self, call: str, settings: Settings) -> Comparison:
        if self.actor == MANAGER:
            return self._manager(call, settings)
        return self._any_actor(call, settings)

    def _manager(self, call: str, settings: Settings) -> Comparison:
        exact = not self.current
        mine = plan(self._trace.records, call)
        if mine.unread:
            self._notes.append(
                f"call {call}: {mine.unread} messages at the end are not replayed: the trace ends "
                "before the steps that led to them"
            )
        live = replay.ManagerReplay(mine, settings, exact)
        said = on_replay_loop(live.run())
        self.said += said
        zero = Zero.of(_of_call(self._trace.records, call))
        recorded, again = mine.said, replay.outputs(said, mine)
        if not exact:  # its steps hold the recorded ticks, which a what-if does not play
            recorded, again = _but(recorded, Steps), _but(again, Steps)
        slack_ns = 0 if exact else LATE_NS
        return compare(call, recorded, again, zero, stamps=True, slack_ns=slack_ns)

    def _any_actor(self, call: str, settings: Settings) -> Comparison:
        live = replay_actor.ActorReplay(self._trace.records, call, self.actor, settings)
        said = on_replay_loop(live.run())
        self.said += said
        zero = Zero.of(live.recorded)
        recorded = replay_actor.outputs(live.recorded, self.actor)
        again = replay_actor.outputs(said, self.actor)
        events = compare(call, _but(recorded, Audio), _but(again, Audio), zero, stamps=False)
        if not any(record.lane == "media" for record in self._trace.records):
            self._notes.append(f"call {call}: recorded without sound, so sound is not compared")
            return events
        return _together(events, compare_sound(call, recorded, again, zero))

    def write(self, path: Path) -> None:
        """What was heard this time, as a trace. The same every time: no clock of today is in it."""
        header: dict[str, Any] = {**self._trace.header, "replayed": self.actor}
        with path.open("wb") as file:
            writer = Writer(file, **header)
            for record in self.said:
                writer.write(Heard(record.at_ns, record.lane, record.frames))


def _of_call(records: Iterable[Record], call: str) -> list[Record]:
    return [r for r in records if r.event is not None and r.event.call == call]


def _but(records: Sequence[Record], kind: type) -> list[Record]:
    return [record for record in records if not isinstance(record.event, kind)]


def _together(one: Comparison, other: Comparison) -> Comparison:
    return Comparison(
        call=one.call,
        compared=one.compared + other.compared,
        identical=one.identical + other.identical,
        differences=(*one.differences, *other.differences),
    )
