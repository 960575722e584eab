"""In come the outcomes of all trials; out go rates, percentiles and the bars they must clear. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from soak.duplex.score import Outcome
from soak.duplex.trials import KINDS

MOST_INVALID = 0.05
"""Share of the trials."""


class Spread(msgspec.Struct, frozen=True):
    """Percentiles of a figure over `count` trials, in its own unit."""

    count: int
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The benchmark's figures; shares from 0 to 1, None where no trial applies.

    `again`: why tries counted for nothing and were made again, and how many each.
    """

    trials: dict[str, int]
    invalid: int
    again: dict[str, int]
    yield_rate: float | None
    selectivity: float | None
    selectivity_backchannel: float | None
    selectivity_noise: float | None
    answered_rate: float | None
    quiet_ms: Spread
    stop_ms: Spread
    response_after_interruption_ms: Spread
    response_own_turn_ms: Spread
    false_stops: int
    false_ducks: int
    trials_ducked: int
    false_duck_s: Spread
    cut_ins: int
    cut_in_share_of_pauses: float | None
    double_answers: int
    partly_answered: int
    first_words_lost: int
    first_words_expected: int


class Bar(NamedTuple):
    """A figure and the value it must reach; `met` None: nothing was measured."""

    name: str
    value: float | None
    must: str
    unit: str
    met: bool | None


def totals(outcomes: Sequence[Outcome]) -> Totals:
    """Over all valid trials."""
    valid = [outcome for outcome in outcomes if not outcome.invalid]
    by = {kind: [outcome for outcome in valid if outcome.kind == kind] for kind in KINDS}
    cut, spared = by["interruption"], by["backchannel"] + by["noise"]
    own = by["pause"] + by["resumption"]
    yielded = [o for o in cut if _yielded(o)]
    return Totals(
        trials={kind: len(found) for kind, found in by.items()},
        invalid=len(outcomes) - len(valid),
        again=dict(Counter(why for outcome in outcomes for why in outcome.again)),
        yield_rate=_share(cut, _yielded),
        selectivity=_share(spared, lambda o: o.spared),
        selectivity_backchannel=_share(by["backchannel"], lambda o: o.spared),
        selectivity_noise=_share(by["noise"], lambda o: o.spared),
        answered_rate=_share(yielded, lambda o: o.answers > 0 or o.cut_in),
        quiet_ms=spread(o.quiet_ms for o in yielded),
        stop_ms=spread(o.stop_ms for o in yielded),
        response_after_interruption_ms=spread(o.response_ms for o in cut),
        response_own_turn_ms=spread(o.response_ms for o in own),
        false_stops=sum(bool(o.stopped) for o in spared),
        false_ducks=sum(o.duck_count or 0 for o in spared),
        trials_ducked=sum(bool(o.duck_count) for o in spared),
        false_duck_s=spread(o.duck_s for o in spared if o.duck_count),
        cut_ins=sum(o.cut_in for o in valid),
        cut_in_share_of_pauses=_share(by["pause"], lambda o: o.cut_in),
        double_answers=sum(o.answers > 1 for o in valid),
        partly_answered=sum(o.whole is False for o in by["resumption"]),
        first_words_lost=sum(o.words_lost or 0 for o in yielded),
        first_words_expected=sum(o.words_expected for o in yielded),
    )


def doubtful(total: Totals) -> str:
    """What to say loudly about a run of which too many trials count for nothing; "" for none."""
    share = total.invalid / max(1, total.invalid + sum(total.trials.values()))
    if share <= MOST_INVALID:
        return ""
    return f"{share:.0%} of the trials are invalid: these figures are worth little; use fewer --parallel"


def _yielded(outcome: Outcome) -> bool:
    return bool(outcome.stopped) and "did not yield" not in outcome.failed


def _share(outcomes: Sequence[Outcome], holds: Callable[[Outcome], bool]) -> float | None:
    if not outcomes:
        return None
    return round(sum(map(holds, outcomes)) / len(outcomes), 4)


def spread(values: Iterable[float | None]) -> Spread:
    """p50, p90, p95 of those that are known."""
    known = [value for value in values if value is not None]
    if not known:
        return Spread(0)
    middle, most, nearly_all = (round(float(v), 1) for v in np.percentile(known, (50, 90, 95)))
    return Spread(len(known), middle, most, nearly_all)


def bars(total: Totals) -> list[Bar]:
    """The promises of the project and whether these trials keep them."""
    return [
        _at_least("yield rate", total.yield_rate, 0.99),
        _at_least("selectivity", total.selectivity, 0.95),
        _at_most("onset to -20 dB, p50", total.quiet_ms.p50, 100, "ms"),
        _at_most("onset to -20 dB, p90", total.quiet_ms.p90, 300, "ms"),
        _at_most("onset to silence, p50", total.stop_ms.p50, 400, "ms"),
        _at_most("onset to silence, p95", total.stop_ms.p95, 700, "ms"),
        _at_most("double answers", float(total.double_answers), 0, "trials"),
    ]


def _at_least(name: str, value: float | None, must: float) -> Bar:
    return Bar(name, value, f">= {must:g}", "", None if value is None else value >= must)


def _at_most(name: str, value: float | None, must: float, unit: str) -> Bar:
    return Bar(name, value, f"<= {must:g}", unit, None if value is None else value <= must)


def as_json(outcomes: Sequence[Outcome], total: Totals, **about: Any) -> dict[str, Any]:
    """All of it for results.json."""
    return {
        **about,
        "totals": msgspec.to_builtins(total),
        "doubtful": doubtful(total),
        "bars": [bar._asdict() for bar in bars(total)],
        "trials": msgspec.to_builtins(list(outcomes)),
    }
