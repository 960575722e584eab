"""What is heard on all lanes goes in; what the operator asked to see goes to the screen, and counts."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import zmq
from rich.console import Console
from rich.live import Live
from rich.text import Text

from bus.endpoints import Endpoints
from bus.errors import BargeinError, NoAnswer, WireError
from bus.gaps import Gaps
from bus.recording import Record
from bus.wire import KINDS, unpack
from bus.wiretap import Heard, Wiretap
from ops.tap_view import as_json, line, malformed, round_table
from schemas import BusGap, CallClosed, Heartbeat, Probe, RollCall, Steps, TurnCancelled

CHATTER = (Heartbeat, Probe, RollCall, Steps)
"""Shown only when asked for: fourteen heartbeats a second hide the rest."""
READ_MS = 100
RATE_S = 1.0
RATE_IN_A_FILE_S = 5.0
SILENT_S = 3.0
PATIENCE_S = 5.0


class BadFilter(BargeinError):
    """A filter nothing can pass."""

    exit_code = 2


@dataclass(frozen=True)
class Choice:
    """What is to be seen; empty means all. `events` are kinds or their beginnings."""

    events: tuple[str, ...] = ()
    call: str = ""
    actors: tuple[str, ...] = ()
    media: bool = False

    def __post_init__(self) -> None:
        kinds = [kind.decode() for kind in KINDS]
        for asked in self.events:
            if not any(_begins(kind, asked) for kind in kinds):
                raise BadFilter(
                    f"--event {asked}: no such event; kinds: {', '.join(sorted(kinds))}"
                )

    def shows(self, record: Record) -> bool:
        """Whether this decoded message is asked for."""
        assert record.event is not None
        assert record.stamp is not None
        if self.call not in ("", record.event.call):
            return False
        if self.actors and record.stamp.source not in self.actors:
            return False
        if self.events:
            kind = record.frames[0].partition(b"\0")[0].decode()
            return any(_begins(kind, asked) for asked in self.events)
        return (self.media or record.lane != "media") and not isinstance(record.event, CHATTER)


def _begins(kind: str, asked: str) -> bool:
    return kind.lower().startswith(asked.lower())


class Rates:
    """Frames and bytes per kind of sound since the last look."""

    def __init__(self) -> None:
        self._frames: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def add(self, record: Record) -> None:
        """One frame of sound."""
        kind = record.frames[0].partition(b"\0")[0].decode()
        self._frames[kind] += 1
        self._bytes[kind] += sum(map(len, record.frames))

    def take(self, seconds: float) -> str:
        """In words, and begin anew; empty when nothing has sounded."""
        parts = [
            f"{kind} {count / seconds:.0f} frames/s {self._bytes[kind] / 1000 / seconds:.1f} kB/s"
            for kind, count in sorted(self._frames.items())
        ]
        self._frames.clear()
        self._bytes.clear()
        return " · ".join(parts)


class Screen(Protocol):
    """Where it is shown."""

    def message(self, record: Record) -> None:
        """A message that was asked for."""

    def wrong(self, record: Record, why: str) -> None:
        """Frames that are no event."""

    def gap(self, record: Record, missed: int) -> None:
        """The tap itself has missed messages before this one."""

    def rates(self, said: str) -> None:
        """How much sound goes by."""

    def remark(self, said: str) -> None:
        """Something about the tap."""

    def flush(self) -> None:
        """Out with it."""


@dataclass
class Tap:
    """Counts everything, shows what is asked for. `shown` counts messages, not remarks."""

    choice: Choice
    screen: Screen
    counts: Counter[str] = field(default_factory=Counter)
    shown: int = 0
    media: Rates = field(default_factory=Rates)
    _gaps: Gaps = field(default_factory=Gaps)

    def take(self, heard: Heard) -> None:
        """One message of any lane."""
        try:
            event, stamp = unpack(heard.frames)
        except WireError as error:
            self.counts["malformed"] += 1
            self.shown += 1
            raw = Record(heard.at_ns, heard.lane, None, None, heard.frames)
            self.screen.wrong(raw, str(error))
            return
        record = Record(heard.at_ns, heard.lane, stamp, event, heard.frames)
        self.counts[heard.lane] += 1
        if heard.lane == "media":
            self.media.add(record)
        if not isinstance(event, Probe) and (missed := self._gaps.missed(heard.frames[0], stamp)):
            self.counts["missed by this tap"] += missed
            self.screen.gap(record, missed)
        if isinstance(event, BusGap):
            self.counts["missed by actors"] += event.missed
        if isinstance(event, TurnCancelled):
            self.counts["CANCEL rounds"] += 1
        if isinstance(event, CallClosed):
            self._gaps.forget(event.call)
        if self.choice.shows(record):
            self.shown += 1
            self.screen.message(record)

    def summary(self, seconds: float) -> str:
        """All counters in one line."""
        of = self.counts
        parts = [f"{seconds:.1f} s", f"{self.shown} messages shown"]
        parts += [f"{of[lane]} on {lane}" for lane in ("control", "events", "media")]
        parts += [f"{of['CANCEL rounds']} CANCEL rounds", f"{of['malformed']} malformed"]
        parts += [f"{of[name]} {name}" for name in ("missed by this tap", "missed by actors")]
        return ", ".join(parts)


def listen(
    tap: Tap,
    context: zmq.Context[zmq.Socket[bytes]],
    where: Endpoints,
    for_s: float | None = None,
    count: int | None = None,
    rate_s: float = RATE_S,
    patience_s: float = PATIENCE_S,
) -> None:
    """Until `for_s` has passed or `count` messages were shown. Raises NoAnswer."""
    wire = Wiretap(context, where)
    try:
        if not wire.open(patience_s):
            raise NoAnswer(
                "the broker does not answer; see `bargein status`, start with `bargein up`"
            )
        began = rated = heard_s = time.monotonic()
        while True:
            for heard in wire.read(READ_MS):
                heard_s = time.monotonic()
                tap.take(heard)
                if count is not None and tap.shown >= count:
                    return
            now = time.monotonic()
            if now - rated >= rate_s:
                tap.screen.rates(tap.media.take(now - rated))
                rated = now
            if now - heard_s >= SILENT_S:
                tap.screen.remark(f"nothing heard for {SILENT_S:g} s; see `bargein status`")
                heard_s = now
            tap.screen.flush()
            if for_s is not None and now - began >= for_s:
                return
    finally:
        wire.close()


class Lines:
    """For people: words on a terminal, the rates of sound in place at its foot."""

    def __init__(self, console: Console, budget_ms: float = 0) -> None:
        self._budget_ms = budget_ms
        self._console = console
        self._foot = Live(console=console, auto_refresh=False, transient=True)
        self._began_ns = 0

    def __enter__(self) -> Lines:
        if self._console.is_terminal:
            self._foot.start()
        self._print(
            Text("    since the  on its\n  first line     way  who           what", style="bold")
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._foot.stop()

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=not self._console.is_terminal)

    def _seconds(self, record: Record) -> str:
        self._began_ns = self._began_ns or record.at_ns
        return f"{(record.at_ns - self._began_ns) / 1e9:8.3f} s  "

    def message(self, record: Record) -> None:
        self._began_ns = self._began_ns or record.at_ns
        self._print(line(record, self._began_ns))
        if isinstance(record.event, TurnCancelled):
            self._console.print(round_table(record.event, self._budget_ms))

    def wrong(self, record: Record, why: str) -> None:
        told = malformed(record, why)
        first = " | ".join(told["first_bytes"])
        what = f"MALFORMED on {record.lane}: {why}; {told['frames']} frames, begins {first}"
        self._print(Text(self._seconds(record) + what, style="bold red"))

    def gap(self, record: Record, missed: int) -> None:
        assert record.stamp is not None
        kind = record.frames[0].partition(b"\0")[0].decode()
        what = f"GAP: this tap missed {missed} messages of {kind} from {record.stamp.source}"
        self._print(Text(self._seconds(record) + what, style="bold red"))

    def rates(self, said: str) -> None:
        if self._console.is_terminal:
            self._foot.update(Text(said, style="dim"), refresh=True)
        elif said:
            self._print(Text(f"sound: {said}"))

    def remark(self, said: str) -> None:
        self._print(Text(said))

    def flush(self) -> None:
        self._console.file.flush()


class JsonLines:
    """For programs: one JSON object a message on stdout; remarks go to stderr."""

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def message(self, record: Record) -> None:
        self._print(as_json(record))

    def wrong(self, record: Record, why: str) -> None:
        self._print(msgspec.json.encode(malformed(record, why)))

    def gap(self, record: Record, missed: int) -> None:
        assert record.stamp is not None
        kind = record.frames[0].partition(b"\0")[0].decode()
        told = {"at_ns": record.at_ns, "lane": record.lane, "kind": "tap.gap", "of": kind}
        self._print(msgspec.json.encode({**told, "source": record.stamp.source, "missed": missed}))

    def rates(self, said: str) -> None:
        """Programs count for themselves."""

    def remark(self, said: str) -> None:
        print(said, file=sys.stderr)

    def flush(self) -> None:
        sys.stdout.flush()

    def _print(self, said: bytes) -> None:
        sys.stdout.write(said.decode() + "\n")
