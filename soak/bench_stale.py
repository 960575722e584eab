"""The last agent sample after the CANCEL broadcast, in every variant of something being stuck.

The real fleet under supervisord with artificial engines, a real Line as the caller's end. The bar
is one playback frame and 10 ms; what the caller heard must be in the history each time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from soak.bench_caller import Figures
from soak.bench_home import Tables, fleet, scratch
from soak.bench_kit import Result, Row, Tell, percentile
from soak.bench_procs import Child, children

NAME = "stale"
CANCELS, WEDGES = 30, 5
FRAME_MS, GRACE_MS = 20, 10
SETTINGS: Tables = {
    "turns": {"endpoint_ms": 250, "endpointing": "fixed"},
    "audio_in": {"hangover_ms": 250},
}


@dataclass(frozen=True)
class Variant:
    """`engines`: of soak/bench_engines.py; `stop` gets SIGSTOP, `replaced` is killed by the warden."""

    name: str
    engines: str = "clean"
    stop: str = ""
    replaced: str = ""


FLEETS = (
    (
        "clean",
        (
            Variant("clean"),
            *(Variant(f"{who} wedged 8 s", stop=who) for who in ("llm", "tts", "playback")),
        ),
    ),
    ("llm-cleanup", (Variant("LLM clean-up 300 ms", "llm-cleanup"),)),
    ("tts-blocks", (Variant("TTS blocks its CPU", "tts-blocks"),)),
    ("llm-ignores", (Variant("LLM ignores the cancel", "llm-ignores", replaced="llm"),)),
)


def run(tell: Tell, tiny: bool) -> Result:
    """All variants, one fleet after the other."""
    rows: list[Row] = []
    detail: dict[str, object] = {}
    for engines, variants in FLEETS[:1] if tiny else FLEETS:
        tell(f"starting a fleet with engines {engines!r}")
        with (
            scratch(SETTINGS) as settings,
            fleet(settings, {"BENCH_VARIANT": engines}, "soak.bench_actor"),
        ):
            for variant in variants[:1] if tiny else variants:
                count = 2 if tiny else WEDGES if variant.stop else CANCELS
                result = measured(settings.home, variant, count, tell)
                rows += result.rows
                detail |= result.detail
    return Result(bench=NAME, rows=tuple(rows), detail=detail)


def measured(home: Path, variant: Variant, count: int, tell: Tell) -> Result:
    """`count` cancels of one variant against the fleet that runs in `home`."""
    figures = list(_cancels(home, variant, count, tell))
    detail: dict[str, object] = {variant.name: [msgspec.to_builtins(one) for one in figures]}
    return Result(bench=NAME, rows=tuple(_rows(variant, figures)), detail=detail)


def _cancels(home: Path, variant: Variant, count: int, tell: Tell) -> Iterator[Figures]:
    order = {"stop": variant.stop, "replaced": variant.replaced}
    orders = [order] * count + [{}]
    arguments = (json.dumps(orders), str(len(variant.name)))
    make = partial(Child, home, "caller", "soak.bench_caller", *arguments)
    with children([make]) as (caller,):
        for number in range(count):
            tell(f"{variant.name}: cancel {number + 1} of {count}")
            yield msgspec.convert(caller.hear(), Figures)
        caller.hear()


def _rows(variant: Variant, figures: list[Figures]) -> list[Row]:
    bar = FRAME_MS + GRACE_MS
    row = partial(Row, bench=NAME)
    played = [max(0.0, one.played_ms) for one in figures]
    emitted = [max(0.0, one.emitted_ms) for one in figures]
    right = [one.heard_right and one.history_right for one in figures]
    return [
        row(
            name=f"{variant.name}: last sample played, p50", value=percentile(played, 50), unit="ms"
        ),
        row(
            name=f"{variant.name}: last sample played, p99",
            value=percentile(played, 99),
            unit="ms",
            bar=bar,
        ),
        row(
            name=f"{variant.name}: last frame sent, p99",
            value=percentile(emitted, 99),
            unit="ms",
            bar=bar,
        ),
        row(
            name=f"{variant.name}: heard is in the history",
            value=100 * sum(right) / len(right),
            unit="%",
            bar=100,
            sense=">=",
        ),
    ]
