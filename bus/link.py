"""One process's connection to the two data lanes: frames come in and are checked, events go out."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import zmq

from bus.clock import Clock
from bus.endpoints import Endpoints
from bus.errors import WireError
from bus.gaps import Gaps
from bus.logs import Seldom
from bus.sockets import DATA_IO, Frames, Reader, make, send
from bus.stamps import Stamper
from bus.wire import MAX_FRAME_BYTES, lane_of, pack, pack_under, prefix, topic_of, unpack
from schemas import Audio, BusGap, Event, Probe, Stamp

Take = Callable[[Event, Stamp], None]
PROBE_EVERY_MS = 5


@dataclass(frozen=True)
class Marks:
    """High-water marks per lane, in messages, and the largest frame, in bytes."""

    events: int = 100_000
    media: int = 2_000
    max_frame_bytes: int = MAX_FRAME_BYTES


class Link:
    """Two lanes, each a PUB and a SUB on the broker, read on the event loop.

    Malformed frames and gaps are counted and reported, never raised.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        where: Endpoints,
        stamper: Stamper,
        clock: Clock,
        marks: Marks | None = None,
    ) -> None:
        marks = marks or Marks()
        self.name = stamper.source
        self.stamper = stamper
        self.clock = clock
        self.counts: Counter[str] = Counter()
        self.gaps = Gaps()
        self._refused = Seldom("frame refused")
        self._limit = marks.max_frame_bytes
        hwm = {"events": marks.events, "media": marks.media}
        self._pub = {lane: make(context, zmq.PUB, mark, io=DATA_IO) for lane, mark in hwm.items()}
        self._sub = {lane: make(context, zmq.SUB, mark, io=DATA_IO) for lane, mark in hwm.items()}
        for lane in hwm:
            self._pub[lane].connect(where[f"{lane}.in"])
            self._sub[lane].connect(where[f"{lane}.out"])
        self._readers: list[Reader] = []
        self._take: Take | None = None
        self._call = ""
        self._echoed: set[int] = set()
        self._heard = asyncio.Event()

    def publish(self, event: Event, at_ns: int | None = None) -> None:
        """Send at once; never waits. `at_ns` defaults to now."""
        topic = topic_of(event)
        stamp = self.stamper(topic, self.clock.now() if at_ns is None else at_ns)
        lane = "media" if isinstance(event, Audio) else "events"
        send(self._pub[lane], pack_under(topic, event, stamp))
        self.counts["sent"] += 1

    async def listen(self, kinds: Iterable[type[Event]], take: Take, call: str = "") -> None:
        """Subscribe, then return once both lanes are proven to reach the broker and back.

        A publish right after connect would be lost, so a probe is repeated until it is heard.
        """
        self._take, self._call = take, call
        for kind in kinds:
            self.subscribe(kind, call)
        probe = prefix(Probe)
        for lane in ("events", "media"):
            self._sub[lane].subscribe(probe)
            self._readers.append(Reader(self._sub[lane], self._accept))
        for number, lane in enumerate(("events", "media")):
            await self._echo(number, lane)
            self._sub[lane].unsubscribe(probe)
            self._readers[number].drain()

    async def _echo(self, number: int, lane: str) -> None:
        stamp = Stamp(source=self.name, inc=self.stamper.inc, seq=0, at_ns=0)
        frames = pack(Probe(actor=self.name, nonce=number), stamp)
        while number not in self._echoed:
            send(self._pub[lane], frames)
            self._heard.clear()
            with contextlib.suppress(TimeoutError):  # wait_for would swallow a cancel (Python 3.11)
                async with asyncio.timeout(PROBE_EVERY_MS / 1000):
                    await self._heard.wait()

    def subscribe(self, kind: type[Event], call: str = "") -> None:
        """Hear one more kind."""
        self._sub[lane_of(kind)].subscribe(prefix(kind, call))
        for reader in self._readers:
            reader.drain()

    def forget(self, call: str) -> None:
        """The call is over: drop its sequence numbers."""
        self.gaps.forget(call)
        self.stamper.forget(call)

    def close(self) -> None:
        """Stop reading and close the sockets."""
        for reader in self._readers:
            reader.close()
        for socket in (*self._pub.values(), *self._sub.values()):
            socket.close()

    def _accept(self, frames: Frames) -> None:
        try:
            event, stamp = unpack(frames, self._limit)
        except WireError as error:
            self.counts[error.counter] += 1
            self._refused.warn(why=str(error), kind=error.counter)
            return
        if isinstance(event, Probe):
            if (event.actor, stamp.inc) == (self.name, self.stamper.inc):
                self._echoed.add(event.nonce)
                self._heard.set()
            return
        if self._call and event.call != self._call:
            return  # topics match by prefix: C10 comes with C1
        self.counts["received"] += 1
        if missed := self.gaps.missed(frames[0], stamp):
            self._report(frames[0], stamp, missed)
        if self._take is not None:
            self._take(event, stamp)

    def _report(self, topic: bytes, stamp: Stamp, missed: int) -> None:
        self.counts["missed"] += missed
        readable = topic.replace(b"\0", b" ").decode(errors="replace").strip()
        self.publish(
            BusGap(
                actor=self.name,
                origin=stamp.source,
                topic=readable,
                expected=stamp.seq - missed,
                got=stamp.seq,
                missed=missed,
            )
        )
