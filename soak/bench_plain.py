"""The yardstick: the same messages over plain synchronous pyzmq, nothing in between.

`python -m soak.bench_plain leaf DIR NAME` acknowledges each broadcast; `… proxy DIR` is a bare
XSUB/XPUB proxy. Each runs until SIGTERM.
"""

from __future__ import annotations

import sys
from pathlib import Path

import zmq

from bus.sockets import Frames, make
from bus.stamps import Stamper
from bus.wire import pack, topic_of
from schemas import Acked, Cancel
from soak.bench_kit import Context


def address(folder: Path, name: str) -> str:
    """An ipc address of the yardstick's own."""
    return f"ipc://{folder}/plain-{name}"


def ack_frames(name: str) -> Frames:
    """What an actor's control lane sends for a CANCEL, byte for byte as long."""
    ack = Acked(
        call="0" * 26,
        turn=1_763_700_000_000,
        actor=name,
        inc=1_763_700_000_000_000_000,
        fenced=True,
        released=True,
        fenced_us=12.345,
        released_us=12.345,
    )
    return [bytes(8), *pack(ack, Stamper(name)(topic_of(ack), 1 << 50))]


def cancel_frames(at_ns: int) -> Frames:
    """What turn_manager broadcasts."""
    cancel = Cancel(call="0" * 26, turn=1_763_700_000_000, reason="bench", sent_ns=at_ns)
    return pack(cancel, Stamper("turn_manager")(topic_of(cancel), at_ns))


def leaf(folder: Path, name: str) -> None:
    """SUB in, DEALER out, for ever."""
    context: Context = zmq.Context()
    heard = make(context, zmq.SUB)
    heard.connect(address(folder, "pub"))
    heard.subscribe(b"")
    back = make(context, zmq.DEALER)
    back.setsockopt(zmq.ROUTING_ID, name.encode())
    back.connect(address(folder, "router"))
    answer = ack_frames(name)
    back.send_multipart(answer)
    while True:
        heard.recv_multipart()
        back.send_multipart(answer)


def proxy(folder: Path) -> None:
    """What a broker costs at the least."""
    context: Context = zmq.Context()
    inward, outward = make(context, zmq.XSUB), make(context, zmq.XPUB)
    inward.bind(address(folder, "in"))
    outward.bind(address(folder, "out"))
    zmq.proxy(inward, outward)


class Fanout:
    """The asking side: one broadcast, `count` answers."""

    def __init__(self, context: Context, folder: Path, count: int) -> None:
        self._pub, self._router = make(context, zmq.PUB), make(context, zmq.ROUTER)
        self._pub.bind(address(folder, "pub"))
        self._router.bind(address(folder, "router"))
        self._count = count

    def meet(self) -> None:
        """Each leaf has said its first word and hears the broadcast."""
        names: set[bytes] = set()
        while len(names) < self._count:
            names.add(self._router.recv_multipart()[0])
        names.clear()
        while len(names) < self._count:
            self._pub.send_multipart(cancel_frames(0))
            while self._router.poll(20):
                names.add(self._router.recv_multipart()[0])

    def ask(self, at_ns: int) -> None:
        """Broadcast, and wait for all."""
        self._pub.send_multipart(cancel_frames(at_ns))
        for _ in range(self._count):
            self._router.recv_multipart()

    def close(self) -> None:
        """Close both sockets."""
        self._pub.close()
        self._router.close()


def main(arguments: list[str]) -> int:
    """Until SIGTERM."""
    role, folder, *rest = arguments
    if role == "leaf":
        leaf(Path(folder), *rest)
    else:
        proxy(Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
