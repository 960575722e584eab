"""One event through the broker, and bursts: Link against plain pyzmq on the same bytes.

One process sends: an event of ours, then the yardstick's, in turns. Two receive: `ours` is a Link on
an event loop, decoding and checking sequence numbers; `plain` is recv_multipart and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from pathlib import Path

import zmq

from bus.clock import MonotonicClock
from bus.endpoints import Endpoints
from bus.link import Link, Marks
from bus.settings import load
from bus.sockets import make
from bus.stamps import Stamper
from bus.wire import pack, topic_of, unpack
from schemas import CloseCall, Event, Partial, Stamp
from soak.bench_home import scratch
from soak.bench_kit import Context, Result, Row, Tell, percentile, spread
from soak.bench_plain import address
from soak.bench_procs import Child, children

NAME = "one-way"
SINGLES = 2000
BURST, BURSTS = 20_000, 7
PAUSE_S = 0.001
BAR_LATENCY, BAR_RATE = 1.5, 0.6
CALL = "0" * 26
SETTLE_S = 0.4
"""From the last message sent to all of them lying in the receiver's queue."""

LAST_S = 5.0
"""s that the last events are waited for."""


def event(number: int) -> Event:
    """Of usual size; told apart by `start`."""
    return Partial(call=CALL, utterance=1, text="what is twelve times", start=number, end=number)


def run(tell: Tell, tiny: bool) -> Result:
    """Latency of single events, then the rate of bursts that lie in the queue."""
    singles, burst, bursts = (20, 200, 1) if tiny else (SINGLES, BURST, BURSTS)
    with scratch() as settings:
        home, folder = settings.home, str(settings.run_dir)
        makers = [
            partial(Child, home, "broker", "bus.broker"),
            partial(Child, home, "proxy", "soak.bench_plain", "proxy", folder),
            partial(Child, home, "ours", __name__, "ours"),
            partial(Child, home, "plain", __name__, "plain"),
            partial(Child, home, "sender", __name__, "send"),
        ]
        with children(makers) as (_, _, ours, plain, sender):
            for child in (ours, plain, sender):
                child.hear()
            tell(f"{singles} single events each way")
            sent = _send(sender, "singles", singles)
            rows = _latency(sent, _received(ours, singles), _received(plain, singles))
            rates: dict[str, list[float]] = {"ours": [], "plain": []}
            for number in range(bursts):
                tell(f"burst {number + 1} of {bursts}, {burst} events each way")
                for name, child in (("ours", ours), ("plain", plain)):
                    child.tell(burst)
                    child.hear()
                    _send(sender, name, burst)
                    time.sleep(SETTLE_S if not tiny else 0.05)
                    child.tell("read")
                    rates[name].append(_rate(child, burst))
    return Result(bench=NAME, rows=(*rows, *_rates(rates)))


def _send(sender: Child, what: str, count: int) -> dict[str, list[int]]:
    sender.tell([what, count])
    sent: dict[str, list[int]] = sender.hear()
    return sent


def _received(child: Child, count: int) -> dict[str, int]:
    """When each came; the last ones may still be under way when the sender is done."""
    times: dict[str, int] = {}
    deadline = time.monotonic() + LAST_S
    while len(times) < count and time.monotonic() < deadline:
        child.tell("times")
        times = child.hear()
    return times


def _rate(child: Child, count: int) -> float:
    return count / float(child.hear()["s"])


def _latency(sent: dict[str, list[int]], ours: dict[str, int], plain: dict[str, int]) -> list[Row]:
    took = {
        name: [
            (got[str(n)] - at) / 1e6
            for n, at in enumerate(sent[name])
            if n >= len(sent[name]) // 20
        ]
        for name, got in (("ours", ours), ("plain", plain))
    }
    rows = spread(NAME, "ours", took["ours"], "ms") + spread(
        NAME, "plain pyzmq", took["plain"], "ms"
    )
    for share, bar in ((50, BAR_LATENCY), (99, BAR_LATENCY)):
        ratio = percentile(took["ours"], share) / percentile(took["plain"], share)
        rows.append(
            Row(bench=NAME, name=f"ours / plain, p{share}", value=ratio, unit="ratio", bar=bar)
        )
    return rows


def _rates(rates: dict[str, list[float]]) -> list[Row]:
    ours, plain = (percentile(rates[name], 50) for name in ("ours", "plain"))
    return [
        Row(bench=NAME, name="bursts, ours, typed", value=ours, unit="events/s"),
        Row(bench=NAME, name="bursts, plain pyzmq", value=plain, unit="events/s"),
        Row(
            bench=NAME,
            name="bursts, ours / plain",
            value=ours / plain,
            unit="ratio",
            bar=BAR_RATE,
            sense=">=",
        ),
    ]


# -- the sending process -------------------------------------------------------------------------


async def _sender(where: Endpoints, folder: Path, context: Context) -> None:
    link = Link(context, where, Stamper("bench-sender"), MonotonicClock(), Marks(events=200_000))
    await link.listen((CloseCall,), lambda *_: None)
    raw = make(context, zmq.PUB)
    raw.connect(address(folder, "in"))
    loop = asyncio.get_running_loop()
    print(json.dumps({"ready": True}), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        what, count = json.loads(line)
        print(json.dumps(await _said(link, raw, what, count)), flush=True)


async def _said(link: Link, raw: zmq.Socket[bytes], what: str, count: int) -> dict[str, list[int]]:
    sent: dict[str, list[int]] = {"ours": [], "plain": []}
    stamp = Stamp(source="bench-sender", inc=link.stamper.inc, seq=0, at_ns=1 << 50)
    frames = [pack(event(number), stamp) for number in range(count)]
    if what == "singles":
        for number in range(count):
            sent["ours"].append(time.monotonic_ns())
            link.publish(event(number))
            await asyncio.sleep(PAUSE_S)
            sent["plain"].append(time.monotonic_ns())
            raw.send_multipart(frames[number])
            await asyncio.sleep(PAUSE_S)
    for number in range(count if what == "ours" else 0):
        link.publish(event(number))
    for number in range(count if what == "plain" else 0):
        raw.send_multipart(frames[number])
    return sent


# -- the receiving processes ---------------------------------------------------------------------


class Receiver:
    """Notes when each event came; in a burst it stands still until it is told to read."""

    def __init__(self) -> None:
        self.times: dict[int, int] = {}
        self.burst = self.count = self.began_ns = 0

    def take(self, event: Event, stamp: Stamp) -> None:
        """From the Link."""
        now = time.monotonic_ns()
        if not self.burst:
            self.times[event.start] = now  # type: ignore[attr-defined] # a Partial: nothing else is heard
            return
        if not self.count:
            sys.stdin.readline()
            self.began_ns = time.monotonic_ns()
        self.count += 1
        if self.count == self.burst:
            self.tell_rate()

    def tell_rate(self) -> None:
        """The burst is read."""
        print(json.dumps({"s": (time.monotonic_ns() - self.began_ns) / 1e9}), flush=True)
        self.burst = self.count = 0

    def obey(self, line: str) -> None:
        """`"times"`, or the size of the burst to come."""
        order = json.loads(line)
        if order == "times":
            print(json.dumps(self.times), flush=True)
        else:
            self.burst = int(order)
            print(json.dumps({"waiting": order}), flush=True)


async def _ours(where: Endpoints, context: Context) -> None:
    receiver = Receiver()
    link = Link(context, where, Stamper("bench-ours"), MonotonicClock(), Marks(events=200_000))
    await link.listen((Partial,), receiver.take)
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: receiver.obey(sys.stdin.readline()))
    print(json.dumps({"ready": True}), flush=True)
    await asyncio.Event().wait()


def _plain(folder: Path, context: Context) -> None:
    receiver = Receiver()
    socket = make(context, zmq.SUB)
    socket.connect(address(folder, "out"))
    socket.subscribe(topic_of(event(0)))
    print(json.dumps({"ready": True}), flush=True)
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(sys.stdin, zmq.POLLIN)
    while True:
        if receiver.burst:
            _read_burst(receiver, socket)
        elif any(who != socket for who, _ in poller.poll()):
            receiver.obey(sys.stdin.readline())
        else:
            frames = socket.recv_multipart()
            now = time.monotonic_ns()
            said, _ = unpack(frames)
            receiver.times[said.start] = now  # type: ignore[attr-defined] # a Partial


def _read_burst(receiver: Receiver, socket: zmq.Socket[bytes]) -> None:
    socket.recv_multipart()
    sys.stdin.readline()
    receiver.began_ns = time.monotonic_ns()
    for _ in range(receiver.burst - 1):
        socket.recv_multipart()
    receiver.tell_rate()


def main(arguments: list[str]) -> int:
    """One of the three processes, until SIGTERM."""
    settings = load()
    where, context = Endpoints(settings.run_dir), zmq.Context()
    if arguments[0] == "plain":
        _plain(settings.run_dir, context)
    elif arguments[0] == "ours":
        asyncio.run(_ours(where, context))
    else:
        asyncio.run(_sender(where, settings.run_dir, context))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
