"""All `fenced` while the box works: the real fleet, a call in full swing, others cancelled all the time.

One call (soak/bench_talker.py) keeps 50 frames/s going each way with the recogniser decoding real
speech; in others each turn is cancelled once its agent speaks.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from soak.bench_home import Tables, fleet, scratch, with_responder
from soak.bench_kit import Result, Row, Tell, percentile, spread
from soak.bench_procs import Child, children

NAME = "fenced under load"
ROUNDS = 240
BAR_P99_MS = 10
SETTINGS: Tables = {
    "turns": {"endpoint_ms": 250, "endpointing": "fixed"},
    "fleet": {"enable_barge_in": False},
    "responder": {"tokens_per_s": 120.0, "first_token_ms": 20},
}
"""Half duplex: the caller of the busy call talks on without being answered. A quick responder: more
cancels in less time."""


def run(tell: Tell, tiny: bool) -> Result:
    """`ROUNDS` cancels against the running load."""
    tell("starting the fleet")
    with scratch(with_responder(SETTINGS)) as settings, fleet(settings):
        return measured(settings.home, 3 if tiny else ROUNDS, tell)


def measured(home: Path, rounds: int, tell: Tell) -> Result:
    """`rounds` cancels against the fleet that runs in `home`."""
    with children([partial(Child, home, "talker", "soak.bench_talker", str(rounds))]) as (talker,):
        figures: dict[str, Any] = {}
        while not figures.get("over"):
            figures = talker.hear()
            tell(f"{figures['rounds']} of {rounds} cancels")
    return Result(bench=NAME, rows=tuple(_rows(figures)), detail=figures)


def _rows(figures: dict[str, Any]) -> list[Row]:
    fenced = figures["fenced_ms"]
    row = partial(Row, bench=NAME)
    return [
        *spread(NAME, "all fenced", fenced, "ms"),
        row(name="all fenced, p99, bar", value=percentile(fenced, 99), unit="ms", bar=BAR_P99_MS),
        row(name="cancels", value=len(fenced), unit="rounds"),
        row(
            name="rounds with an absent or stuck actor",
            value=figures["incomplete"],
            unit="rounds",
            bar=0,
        ),
        row(name="frames to the fleet", value=figures["in_per_s"], unit="frames/s"),
        row(name="frames from the fleet", value=figures["out_per_s"], unit="frames/s"),
        row(name="partial and final results", value=figures["results"], unit="events"),
    ]
