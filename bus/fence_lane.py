"""The shortest way from a CANCEL to its acknowledgement: a thread that blocks on that socket alone.

To poll it among others, and to answer among other business, made a broadcast to seven actors on two
cores take 1.65 times what plain sockets need.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import structlog
import zmq

from bus.clock import Clock
from bus.desk import Desk
from bus.endpoints import Endpoints
from bus.errors import WireError
from bus.logs import Seldom
from bus.priority import hurry
from bus.sockets import make, send, wait
from bus.stamps import Stamper
from bus.wire import pack_short, prefix, unpack, unpack_cancel
from schemas import Acked, Cancel, RollCall

log = structlog.get_logger()
ACKED = prefix(Acked)
END = b"end of the lane\0"
STOP_EVERY_S = 0.05
_SERIAL = itertools.count()


class FenceLane(threading.Thread):
    """CANCEL in, fence up, acknowledgement out. `release(cancel, began_ns)` is called when there is
    work to stop, `rolled()` when turn_manager asks who we are: both on this thread.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        where: Endpoints,
        stamper: Stamper,
        clock: Clock,
        desk: Desk,
        release: Callable[[Cancel, int], None],
        rolled: Callable[[], None],
    ) -> None:
        super().__init__(name=f"{stamper.source}-fence", daemon=True)
        self.malformed = 0
        self._actor, self._inc = stamper.source, stamper.inc
        self._stamper = Stamper(stamper.source, stamper.inc)
        self._now, self._desk = clock.now, desk
        self._release, self._rolled = release, rolled
        self._numbers = itertools.count(1)
        self._refused = Seldom("CANCEL frame refused")
        own = f"inproc://fence-lane-{next(_SERIAL)}"  # not id(): zmq gives an address back late
        self._ender = make(context, zmq.PUB)
        self._ender.bind(own)
        self._back = make(context, zmq.DEALER)
        self._back.setsockopt(zmq.ROUTING_ID, f"{self._actor}.fence".encode())
        self._back.connect(where["door.turn_manager"])
        self._heard = make(context, zmq.SUB)
        self._heard.connect(own)
        self._heard.connect(where["cancel"])
        for topic in (END, prefix(Cancel), prefix(RollCall, self._actor)):  # the roll call last:
            self._heard.subscribe(topic)  # who is called has a lane that stands

    def end(self) -> None:
        """Stop the thread and wait for it; called on another one."""
        while self.is_alive():
            self._ender.send(END)
            self.join(STOP_EVERY_S)
        self._ender.close()

    def run(self) -> None:
        hurry()
        try:
            while (frames := wait(self._heard))[0] != END:
                try:
                    self._take(frames)
                except Exception:  # one CANCEL that fails must not end the lane; logged whole
                    log.exception("CANCEL not obeyed", actor=self._actor)
        finally:
            self._heard.close()
            self._back.close()

    def _take(self, frames: list[bytes]) -> None:
        if (cancel := unpack_cancel(frames)) is not None:
            self._obey(cancel)
        else:
            self._look_at(frames)

    def _look_at(self, frames: list[bytes]) -> None:
        try:
            unpack(frames)
        except WireError as error:
            self.malformed += 1
            self._refused.warn(why=str(error))
        else:
            self._rolled()

    def _obey(self, cancel: Cancel) -> None:
        """Fence first, then say so; then, if anything is going on, have it stopped."""
        began = self._now()
        busy = self._desk.raise_fence(cancel.call, cancel.turn)
        now = self._now()
        ack = fenced(cancel, self._actor, self._inc, busy, (now - began) / 1000)
        topic = ACKED + cancel.call.encode()
        number = next(self._numbers).to_bytes(8, "big")
        try:
            send(self._back, [number, *pack_short(topic, ack, self._stamper(topic, now))])
        except zmq.Again:
            log.error("turn_manager's door takes no more; acknowledgement lost", ack=repr(ack))
        if busy:
            self._release(cancel, began)


def fenced(cancel: Cancel, actor: str, inc: int, busy: bool, took_us: float) -> Acked:
    """The acknowledgement of a fence; of the release as well where nothing was going on."""
    return Acked(
        call=cancel.call,
        turn=cancel.turn,
        actor=actor,
        inc=inc,
        fenced=True,
        released=not busy,
        fenced_us=took_us,
        released_us=0.0 if busy else took_us,
    )
