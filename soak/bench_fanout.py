"""broadcast → all `fenced`: seven actors on the control lane against plain pyzmq doing the same.

One process asks both, in turns: a round of ours, then one of the yardstick's. Both are timed from
the decision to the moment the asker knows the last answer. The seventh actor is turn_manager, whose
control lane is a thread of the asking process; so is the yardstick's seventh.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from pathlib import Path
from threading import Thread

import zmq

from actors.turn_manager import TurnManager
from bus.control import MANAGER
from bus.endpoints import Endpoints
from bus.runtime import Context, Runtime
from bus.settings import load
from soak.bench_actor import IDLE
from soak.bench_home import scratch, wait_ready
from soak.bench_kit import Result, Row, Tell, percentile, spread
from soak.bench_plain import Fanout, leaf
from soak.bench_procs import Child, children

NAME = "fan-out"
ROUNDS, WARM_UP = 1500, 50
PAUSE_S = 0.002
"""Between two rounds: what the last one left to do is done then."""
BAR_P50, BAR_P99 = 1.5, 3.0


def run(tell: Tell, tiny: bool) -> Result:
    """Ours and the yardstick's, interleaved."""
    rounds = 20 if tiny else ROUNDS
    with scratch() as settings:
        home, folder = settings.home, str(settings.run_dir)
        makers = [partial(Child, home, "broker", "bus.broker")]
        makers += [partial(_actor, settings.home, name) for name in IDLE]
        makers += [
            partial(Child, home, f"leaf-{name}", "soak.bench_plain", "leaf", folder, name)
            for name in IDLE
        ]
        makers.append(partial(Child, home, "asker", __name__, str(rounds)))
        tell(f"starting {len(makers)} processes")
        with children(makers) as started:
            started[-1].hear()
            wait_ready(settings)
            tell(f"{rounds} broadcasts each way")
            started[-1].tell("go")
            figures = started[-1].hear()
    return Result(bench=NAME, rows=tuple(_rows(figures["ours"], figures["plain"])))


def _actor(home: Path, name: str) -> Child:
    return Child(home, name, "soak.bench_actor", name, BENCH_VARIANT="idle")


def _rows(ours: list[float], plain: list[float]) -> list[Row]:
    rows = spread(NAME, "ours", ours, "ms") + spread(NAME, "plain pyzmq", plain, "ms")
    for share, bar in ((50, BAR_P50), (95, None), (99, BAR_P99)):
        ratio = percentile(ours, share) / percentile(plain, share)
        rows.append(
            Row(bench=NAME, name=f"ours / plain, p{share}", value=ratio, unit="ratio", bar=bar)
        )
    return rows


# -- the asking process --------------------------------------------------------------------------


async def _ask(rounds: int) -> dict[str, list[float]]:
    settings = load()
    where = Endpoints(settings.run_dir)
    context: Context = zmq.Context()
    manager = TurnManager(context, where, settings)
    plain = Fanout(context, settings.run_dir, len(settings.fleet.roster))
    own = Thread(target=leaf, args=(settings.run_dir, MANAGER), daemon=True)
    own.start()
    async with Runtime(manager, context, where):
        plain.meet()
        print(json.dumps({"ready": True}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        figures = await _interleaved(manager, plain, rounds)
    plain.close()
    context.term()
    return figures


async def _interleaved(manager: TurnManager, plain: Fanout, rounds: int) -> dict[str, list[float]]:
    assert manager.rounds is not None
    ours: list[float] = []
    yardstick: list[float] = []
    for number in range(rounds + min(rounds, WARM_UP)):
        began = time.monotonic_ns()
        await manager.rounds.cancel("0" * 26, 1_763_700_000_000 + number, "bench", began)
        ours.append((time.monotonic_ns() - began) / 1e6)
        await asyncio.sleep(PAUSE_S)
        began = time.monotonic_ns()
        plain.ask(began)
        yardstick.append((time.monotonic_ns() - began) / 1e6)
        await asyncio.sleep(PAUSE_S)
    return {"ours": ours[-rounds:], "plain": yardstick[-rounds:]}


def main(arguments: list[str]) -> int:
    """Ask as often as told, print the times in ms."""
    from actors.__main__ import SWITCH_INTERVAL_S
    from bus.logs import configure

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    configure("asker")
    print(json.dumps(asyncio.run(_ask(int(arguments[0])))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
