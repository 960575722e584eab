"""An ear on the fleet: events go in on a thread of its own; waits, counts and what was noticed come out."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import zmq

from bus.endpoints import Endpoints
from bus.errors import WireError
from bus.wire import prefix, unpack
from bus.wiretap import Heard, Wiretap
from schemas import (
    ActorKilled,
    BusGap,
    CallClosed,
    CallOpened,
    Cancel,
    CancelStuck,
    EngineFailed,
    Event,
    Heartbeat,
    JournalState,
    PlaybackStarted,
    SpeechContinued,
    SttDegraded,
    SttRecovered,
    TurnEnded,
)
from soak.chaos.faults import Phase

POLL_MS = 50
KINDS: tuple[type[Event], ...] = (
    *(ActorKilled, BusGap, CallClosed, CallOpened, Cancel, CancelStuck, EngineFailed, Heartbeat),
    *(JournalState, PlaybackStarted, SpeechContinued, SttDegraded, SttRecovered, TurnEnded),
)
PHASE: dict[Phase, type[Event]] = {
    "caller speaks": SpeechContinued,
    "agent speaks": PlaybackStarted,
    "cancel": Cancel,
    "opening": CallOpened,
    "closing": CallClosed,
}


@dataclass(frozen=True)
class Waiter:
    """Somebody waits for one event."""

    wants: Callable[[Event], bool]
    came: threading.Event
    at_ns: list[int] = field(default_factory=list)


class Watch(threading.Thread):
    """Hears everything but sound and partial words."""

    def __init__(self, where: Endpoints) -> None:
        super().__init__(name="chaos-watch", daemon=True)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._tap = Wiretap(self._context, where, media=False)
        self._prefixes = tuple(prefix(kind) for kind in KINDS)
        self._waiters: list[Waiter] = []
        self._ending = False
        self.seen: Counter[str] = Counter()
        self.degraded: dict[str, int] = {}
        self.degraded_ms: list[float] = []
        self.outcomes: Counter[str] = Counter()
        self.beats: dict[str, Heartbeat] = {}
        self.errors: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def open(self) -> None:
        """Begin to listen."""
        self._tap.open()
        self.start()

    def close(self) -> None:
        """End, and let go of the sockets."""
        self._ending = True
        self.join()
        self._context.term()

    def run(self) -> None:
        while not self._ending:
            for heard in self._tap.read(POLL_MS):
                self._take(heard)
        self._tap.close()

    def _take(self, heard: Heard) -> None:
        if not heard.frames[0].startswith(self._prefixes):
            return
        try:
            event, _ = unpack(heard.frames)
        except WireError:
            self.seen["unreadable"] += 1
            return
        self._note(event, heard.at_ns)
        for waiter in self._waiters.copy():
            if not waiter.came.is_set() and waiter.wants(event):
                waiter.at_ns.append(heard.at_ns)
                waiter.came.set()

    def _note(self, event: Event, at_ns: int) -> None:
        self.seen[type(event).__name__] += 1
        if isinstance(event, Heartbeat):
            self.beats[event.actor] = event
        elif isinstance(event, SttDegraded):
            self.degraded.setdefault(event.call, at_ns)
            self.errors["stt degraded"][event.why.split(":")[0][:60]] += 1
        elif isinstance(event, SttRecovered):
            self.degraded.pop(event.call, None)
            self.degraded_ms.append(event.degraded_for_s * 1000)
        elif isinstance(event, TurnEnded):
            self.outcomes[f"{event.outcome} {event.detail}".strip()[:70]] += 1
        elif isinstance(event, ActorKilled):
            self.errors["killed by the warden"][f"{event.actor}: {event.why}"[:90]] += 1

    def expect(self, wants: Callable[[Event], bool]) -> Waiter:
        """From now on, the first event that is wanted."""
        waiter = Waiter(wants, threading.Event())
        self._waiters.append(waiter)
        return waiter

    def wait(self, waiter: Waiter, timeout_s: float) -> int:
        """When it came, monotonic ns; 0 if it did not."""
        waiter.came.wait(timeout_s)
        self._waiters.remove(waiter)
        return waiter.at_ns[0] if waiter.at_ns else 0

    def phase(self, phase: Phase, timeout_s: float) -> bool:
        """Until that happens in some call; at once for `any`."""
        if (kind := PHASE.get(phase)) is None:
            return True
        return bool(self.wait(self.expect(lambda event: isinstance(event, kind)), timeout_s))


def now() -> int:
    """As heard times are."""
    return time.monotonic_ns()
