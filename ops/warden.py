"""The warden: in come health answers, echoes, `cancel.stuck`; out go SIGKILL and ActorKilled.

It kills only what supervisord names as its child, and supervisord starts that again at once. It
also wakes supervisord when a process dies, which by itself would notice after up to 2 s.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field

import structlog
import zmq

from bus.endpoints import Endpoints
from bus.errors import BargeinError, FleetError, FleetNotRunning, WireError
from bus.settings import Settings, load
from bus.sockets import make, receive
from bus.stamps import Stamper
from bus.wire import pack, prefix, topic_of, unpack
from ops.doors import Doors
from ops.supervisor import Process, Supervisor, kill_group
from ops.wedge import MS, Kill, Limits, WedgeWatch
from schemas import ActorKilled, AskHealth, CancelStuck, Event, Health, Heartbeat, Probe

NAME, BROKER = "warden", "broker"
BROKER_PATIENCE = 2
ORPHAN_S = 5.0
LOOK_EVERY_S = 1.0
log = structlog.get_logger()


@dataclass
class Deaths:
    """A pidfd per process, so that a death is an event and not something found out by asking."""

    poller: zmq.Poller
    _fds: dict[int, int] = field(default_factory=dict)

    def follow(self, pids: set[int]) -> None:
        """Watch these processes and no others."""
        for pid in self._fds.keys() - pids:
            self._forget(pid)
        for pid in pids - self._fds.keys():
            try:
                self._fds[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            self.poller.register(self._fds[pid], zmq.POLLIN)

    def among(self, woken: set[object]) -> bool:
        """Has one died? Each death is told once."""
        dead = [pid for pid, fd in self._fds.items() if fd in woken]
        for pid in dead:
            self._forget(pid)
        return bool(dead)

    def _forget(self, pid: int) -> None:
        fd = self._fds.pop(pid)
        self.poller.unregister(fd)
        os.close(fd)


class Warden:
    """Asks every door each `poll_ms` and acts on what the WedgeWatch decides."""

    def __init__(self, settings: Settings) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        settings.run_dir.chmod(0o700)  # a fresh clone has it as git made it, 0755
        where = Endpoints(settings.run_dir)
        self.supervisor = Supervisor(settings.home)
        self.roster = settings.fleet.roster
        self.poll_ns = settings.warden.poll_ms * MS
        limits = Limits(
            wedge_ns=settings.warden.wedge_ms * MS,
            poll_ns=self.poll_ns,
            boot_grace_ns=int(settings.warden.boot_grace_s * 1e9),
            slow_ms=settings.warden.slow_ms,
        )
        self.watch = WedgeWatch(limits, patience={BROKER: BROKER_PATIENCE})
        self.doors = Doors(context, where, self.roster)
        self._stamper = Stamper(NAME)
        self._nonce = 0
        self._looked = -LOOK_EVERY_S
        self._pids: dict[str, int] = {}
        self._pub = make(context, zmq.PUB, settings.bus.events_hwm)
        self._pub.connect(where["events.in"])
        self._sub = make(context, zmq.SUB, settings.bus.events_hwm)
        self._sub.connect(where["events.out"])
        self._sub.subscribe(prefix(CancelStuck))
        self._sub.subscribe(prefix(Heartbeat))
        self._sub.subscribe(prefix(Probe))
        self._poller = zmq.Poller()
        for socket in (self._sub, *self.doors.sockets.values()):
            self._poller.register(socket, zmq.POLLIN)
        self.deaths = Deaths(self._poller)

    def run(self) -> int:
        """Until supervisord is gone."""
        heard = time.monotonic()
        while time.monotonic() - heard < ORPHAN_S:
            try:
                self.tick()
                heard = time.monotonic()
            except FleetNotRunning:
                time.sleep(self.poll_ns / 1e9)
            except FleetError as error:
                heard = time.monotonic()
                log.warning("supervisord does not answer", why=str(error))
        log.error("supervisord is gone; the warden ends", waited_s=ORPHAN_S)
        return FleetNotRunning.exit_code

    def tick(self) -> None:
        """Look, ask, listen for `poll_ms`, judge.

        supervisord is asked once a second (its answer is the dearest part of a tick); a death is
        noticed at once all the same.
        """
        if time.monotonic() - self._looked >= LOOK_EVERY_S:
            self._look()
        for actor in self.roster:
            self.doors.ask(actor, AskHealth())
        self._nonce += 1
        self._publish(Probe(actor=NAME, nonce=self._nonce))
        self._listen(time.monotonic_ns() + self.poll_ns)
        for kill in self.watch.kills(time.monotonic_ns()):
            self._execute(kill)

    def _look(self) -> tuple[Process, ...]:
        processes = self.supervisor.processes()
        self._looked = time.monotonic()
        now = time.monotonic_ns()
        self._pids = {process.name: process.pid for process in processes}
        for name in (*self.roster, BROKER):
            self.watch.seen(name, self._pids.get(name, 0), now)
        self.deaths.follow({process.pid for process in processes if process.pid} - {os.getpid()})
        return processes

    def _listen(self, until_ns: int) -> None:
        while (left_ns := until_ns - time.monotonic_ns()) > 0:
            woken: set[object] = {who for who, _ in self._poller.poll(left_ns // MS + 1)}
            if self.deaths.among(woken):
                self._look()  # any question makes supervisord reap and start anew
                self._looked = -LOOK_EVERY_S  # and see the successor at the next tick
            self._hear_doors()
            self._hear_bus()

    def _hear_doors(self) -> None:
        now = time.monotonic_ns()
        for actor in self.roster:
            for answer in self.doors.answers(actor):
                if isinstance(answer, Health):
                    if answer.pid != self._pids.get(actor):
                        self._look()  # a successor: its death is to be noticed too
                    self.watch.answered(actor, answer.pid, answer.ready, answer.loop_age_ms, now)

    def _hear_bus(self) -> None:
        for frames in receive(self._sub):
            try:
                event, stamp = unpack(frames)
            except WireError as error:
                log.warning("frame refused", why=str(error))
                continue
            self._take(event, stamp.at_ns)

    def _take(self, event: Event, at_ns: int) -> None:
        if isinstance(event, CancelStuck):
            self.watch.complained(event.actor, event.phase, event.waited_ms, at_ns)
        elif isinstance(event, Heartbeat):
            self.watch.beat(event.actor, event.pid, event.lag_ms, event.missed)
        elif isinstance(event, Probe) and event.actor == NAME:
            now = time.monotonic_ns()
            self.watch.answered(BROKER, self._pids.get(BROKER, 0), True, 0.0, now)

    def _execute(self, kill: Kill) -> None:
        """Ask supervisord once more: the process may have been replaced since the verdict."""
        if not any(p.name == kill.actor and p.pid == kill.pid for p in self._look()):
            return
        kill_group(kill.pid)
        log.error("killed a wedged process", actor=kill.actor, pid=kill.pid, why=kill.why)
        self._publish(ActorKilled(actor=kill.actor, pid=kill.pid, why=kill.why))

    def _publish(self, event: Event) -> None:
        stamp = self._stamper(topic_of(event), time.monotonic_ns())
        self._pub.send_multipart(pack(event, stamp), zmq.DONTWAIT)


def main() -> int:
    """Run under supervisord."""
    try:
        return Warden(load()).run()
    except BargeinError as error:
        print(f"warden: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
