"""A tiny supervisor for artificial actors: names go in; processes come back whenever they die."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Nursery:
    """One process per name, started again each time it ends, until `close`."""

    def __init__(self, run_dir: Path, seed: int) -> None:
        self._run_dir = run_dir
        self._seeds = itertools.count(seed)
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._closing = False
        self.restarts = 0

    def keep(self, name: str) -> None:
        """Start it, and again after each end."""
        self._keepers.append(asyncio.get_running_loop().create_task(self._keep(name)))

    async def _keep(self, name: str) -> None:
        while not self._closing:
            with (self._run_dir / f"{name}.log").open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "soak.artificial", name, str(self._run_dir), str(next(self._seeds))),
                    cwd=ROOT,
                    stdout=log,
                    stderr=log,
                )
            self._processes[name] = process
            await process.wait()
            self.restarts += 1

    def signal(self, name: str, number: signal.Signals) -> None:
        """To that process, if it is alive."""
        process = self._processes.get(name)
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    async def close(self) -> None:
        """Kill all and wait for them."""
        self._closing = True
        for name in self._processes:
            self.signal(name, signal.SIGKILL)
        await asyncio.gather(*self._keepers)
