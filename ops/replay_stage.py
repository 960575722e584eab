"""The rest of the fleet, played for one actor: recorded frames go in, what the actor says comes out.

Everything is in one process over in-proc sockets, on the recorded clock.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from types import TracebackType

import zmq

from bus.broker import Broker
from bus.clock import ReplayClock
from bus.control import MANAGER
from bus.endpoints import Endpoints
from bus.errors import BargeinError
from bus.recording import Record, decode
from bus.runtime import Actor, Context, Runtime
from bus.sockets import Frames, Reader, make
from bus.stamps import Stamper
from bus.wire import Lane, pack, prefix, topic_of, unpack
from bus.wiretap import Heard
from ops.replay_loop import ReplayLoop
from schemas import Acked, CallClosed, CallOpened, Event, Hello, Probe, RollCall, Stamp, Welcome

NEVER_MS = 3_600_000
UNHEARD = (prefix(Probe)[:-1], prefix(RollCall)[:-1])
ECHO_MS = 5
LANES: tuple[Lane, ...] = ("events", "media")
serial = itertools.count()


class ReplayFailed(BargeinError):
    """The actor does not do what every actor does; the message says where it stopped."""

    exit_code = 70


class Stage:
    """`where` is the bus the actor is on; `law` is where turn_manager, if that is the actor, speaks.

    Two places, so that the actor's own acknowledgements are the recorded ones too.
    """

    def __init__(
        self,
        loop: ReplayLoop,
        clock: ReplayClock,
        actor: str,
    ) -> None:
        self.loop, self.clock, self.actor = loop, clock, actor
        self.context: Context = zmq.Context()
        self.runtime: Runtime | None = None
        self._hears: frozenset[bytes] = frozenset()
        self.where = Endpoints(f"inproc://replay{next(serial)}")
        self.law = Endpoints(f"{self.where.where}-law")
        self.said: list[Record] = []
        self.acks: list[Acked] = []
        self._stamper = Stamper(MANAGER, 0)
        self._broker = Broker(self.context, self.where)
        self._pub: dict[Lane, zmq.Socket[bytes]] = {}
        self._sub: dict[Lane, zmq.Socket[bytes]] = {}
        self._readers: list[Reader] = []
        self._fresh: list[tuple[Lane, Frames]] = []
        self._fed = self._matching = 0
        self.heard: Counter[bytes] = Counter()

    async def __aenter__(self) -> Stage:
        self._broker.start()
        for lane in LANES:
            self._listen(lane)
        self._cancel = make(self.context, zmq.XPUB)
        self._cancel.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._cancel.bind(self.where["cancel"])
        if self.actor == MANAGER:
            self._door = make(self.context, zmq.DEALER)
            self._door.connect(self.where[f"door.{MANAGER}"])
            self._sub["control"] = make(self.context, zmq.SUB)
            self._sub["control"].connect(self.law["cancel"])
            self._sub["control"].subscribe(b"")
            self._read("control")
        else:
            self._door = make(self.context, zmq.ROUTER)
            self._door.bind(self.where[f"door.{MANAGER}"])
            self._readers.append(Reader(self._door, self._knocked))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for reader in self._readers:
            reader.close()
        for socket in (*self._pub.values(), *self._sub.values(), self._cancel, self._door):
            socket.close()
        await asyncio.get_running_loop().run_in_executor(None, self.context.term)
        self._broker.join()

    def _listen(self, lane: Lane) -> None:
        """Both ways proven before anybody else is there: an echo, and none of it left."""
        pub = self._pub[lane] = make(self.context, zmq.PUB)
        sub = self._sub[lane] = make(self.context, zmq.SUB)
        pub.connect(self.where[f"{lane}.in"])
        sub.connect(self.where[f"{lane}.out"])
        sub.subscribe(b"")
        probe = pack(Probe(actor="replay", nonce=0), Stamp(source="replay", inc=0, seq=0, at_ns=0))
        while not sub.poll(ECHO_MS):
            pub.send_multipart(probe)
        self._read(lane)

    def _read(self, lane: Lane) -> None:
        self._readers.append(Reader(self._sub[lane], lambda frames: self._hear(lane, frames)))

    # -- from the actor ----------------------------------------------------------------------------

    def _hear(self, lane: Lane, frames: Frames) -> None:
        kind = frames[0].partition(b"\0")[0]
        if kind in UNHEARD:
            return
        if lane != "control":
            self.heard[kind] += 1
            self._matching += kind in self._hears
        self._fresh.append((lane, frames))

    def _subscribed(self, frames: Frames) -> None:
        """The actor's control lane stands: ask for its hello."""
        mark = b"\x01" + prefix(RollCall)
        if frames[0].startswith(mark):
            self.cancel(RollCall(call=frames[0][len(mark) :].decode(), inc=0))

    def _knocked(self, frames: Frames) -> None:
        """What an actor says to turn_manager."""
        event, _ = unpack(frames[2:])
        if isinstance(event, Hello):
            self._door.send_multipart([*frames[:2], *self._packed(Welcome())])
        elif isinstance(event, Acked):
            self.acks.append(event)

    # -- to the actor ------------------------------------------------------------------------------

    def _packed(self, event: Event) -> Frames:
        return pack(event, self._stamper(topic_of(event), self.clock.now()))

    def cancel(self, event: Event) -> None:
        """Broadcast on the control lane."""
        self._cancel.send_multipart(self._packed(event))

    def knock(self, event: Event) -> None:
        """Say something at turn_manager's door, as an actor does."""
        self._door.send_multipart([(0).to_bytes(8, "big"), *self._packed(event)])

    def expect(self, actor: Actor) -> None:
        """Before it is started: what it will hear is what has to arrive there."""
        kinds: set[type[Event]] = {*actor.hears, CallOpened, CallClosed}
        self._hears = frozenset(prefix(kind)[:-1] for kind in kinds)

    def call_roll(self) -> None:
        """The actor can be welcomed now."""
        self._readers.append(Reader(self._cancel, self._subscribed))

    async def feed(self, lane: Lane, frames: Frames) -> None:
        """One recorded message, verbatim; returns when all has come of it that comes by itself."""
        self._fed += 1
        self._pub[lane].send_multipart(frames)
        await self.settle()

    async def settle(self, also: Callable[[], bool] = lambda: True) -> None:
        """Until everything said has arrived on both sides, `also()` holds, and the loop is at rest."""
        if not await self.loop.until(lambda: self._arrived() and also()):
            raise ReplayFailed(
                f"{self.actor} takes no more input at {self.clock.now()} ns of the recorded clock"
            )
        self.gather()

    def _arrived(self) -> bool:
        assert self.runtime is not None
        counts = self.runtime.link.counts
        return (
            self.heard.total() == counts["sent"] + self._fed
            and counts["received"] == self._matching
        )

    def gather(self) -> None:
        """Sort what was said since: CANCEL first, as on its own lane it would be."""
        fresh, self._fresh = self._fresh, []
        for lane, frames in sorted(fresh, key=lambda heard: heard[0] != "control"):
            self.said.append(decode(Heard(self.clock.now(), lane, frames)))
