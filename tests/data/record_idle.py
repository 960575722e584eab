"""Records tests/data/idle_call.msgpack: `python -m tests.data.record_idle`, 15 s."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from bus.endpoints import Endpoints
from ops import in_force
from ops.placing import Caller, Plan, place
from soak.bench_home import Tables, fleet, scratch, with_responder
from tests.data.strip import strip

TABLES: Tables = {
    "turns": {"notice": "This call is recorded for training.", "greeting": "Hello there."},
    "watch": {"idle_s": 1.0},
}


class Silent(Caller):
    """Somebody who says nothing until the fleet hangs up."""

    def _over(self) -> bool:
        return self._hung_up


def main() -> None:
    """A fleet of its own, one call."""
    with scratch(with_responder(TABLES)) as settings, fleet(settings):
        where = Endpoints(settings.run_dir)
        header = in_force.header(settings, where)
        plan = Plan(where, settings.calls_dir, header=header, attended=True)
        placed = asyncio.run(place(plan, partial(Silent, clips=[])))
        strip(placed.folder / "trace.msgpack", Path(__file__).parent / "idle_call.msgpack")


if __name__ == "__main__":
    main()
