"""Where the bus lives: a folder (ipc) or a prefix (inproc) goes in, addresses come out."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bus.errors import AddressTaken, PathTooLong

IPC_PATH_MAX = 107
"""Bytes of a unix socket path (sun_path, less its NUL)."""


@dataclass(frozen=True)
class Endpoints:
    """`Endpoints(Path("var/run"))` in production, `Endpoints("inproc://rig1")` in tests.

    Names: events.in, events.out, media.in, media.out, cancel, door.<actor>.
    """

    where: Path | str

    def __getitem__(self, name: str) -> str:
        if isinstance(self.where, str):
            return f"{self.where}-{name}"
        path = self.where / name
        if len(os.fsencode(path)) > IPC_PATH_MAX:
            raise PathTooLong(
                f"the socket path {path} is longer than {IPC_PATH_MAX} bytes; "
                "move the project to a shorter path"
            )
        return f"ipc://{path}"


def claim(where: Endpoints, name: str) -> IO[str] | None:
    """Hold the lock beside a socket while it is bound; a second binder would steal it silently.

    Keep what is returned until the socket is closed. None where the address needs no lock.
    Raises AddressTaken when a living process has it.
    """
    if isinstance(where.where, str):
        return None
    where.where.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = open(where.where / f"{name}.lock", "a+", encoding="ascii")  # noqa: SIM115 - held open
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise AddressTaken(
            f"the address {where[name]} is held by process {owner}; stop it first (bargein down)"
        ) from None
    with contextlib.suppress(
        OSError
    ):  # for people; a full disk must not keep an actor from starting
        lock.truncate(0)
        os.write(lock.fileno(), str(os.getpid()).encode())
    return lock
