"""Calls and faults of a run go in; sums by kind of fault, bars and verdicts come out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from soak.bench_kit import percentile
from soak.chaos.account import Account, Words
from soak.chaos.callers import Call
from soak.chaos.faults import ACTORS, DECODER, KINDS, Kind
from soak.chaos.strike import Struck

BACK_S, NOTICED_S, HANG_S = 3.0, 1.0, 3.0
FAULTS = 500
SAMPLES_PER_KIND = 1_000_000
LONG_S = 1800.0
"""A run of this length must have all its faults and samples; a shorter one only its exactness."""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A promise: `value` in `unit` against `must`."""

    name: str
    value: float
    unit: str
    must: str
    met: bool


class Spread(msgspec.Struct, frozen=True):
    """Percentiles of `n` values; NaN of none."""

    n: int
    p50: float
    p95: float
    worst: float


def spread(values: Sequence[float]) -> Spread:
    """p50, p95 and the largest."""
    return Spread(len(values), *(percentile(values, share) for share in (50, 95, 100)))


@dataclass
class Kinds:
    """One kind of fault. A call counts for each kind that struck while it went on."""

    kind: Kind
    faults: int = 0
    calls: int = 0
    dropped: int = 0
    account: Account = field(default_factory=Account)
    words: Words = field(default_factory=Words)
    noticed_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)
    silences_s: list[float] = field(default_factory=list)


@dataclass
class Figures:
    """What came of a run."""

    seed: int
    seconds: float
    kinds: list[Kinds]
    total: Kinds
    undone: int
    gauges: dict[str, float]
    unclean: list[str]
    silence_s: dict[str, Spread] = field(default_factory=dict)
    notes: dict[str, object] = field(default_factory=dict)


def figures(
    seed: int,
    seconds: float,
    calls: Sequence[Call],
    struck: Sequence[Struck],
    gauges: dict[str, float],
) -> Figures:
    """Add everything up."""
    kinds = {kind: Kinds(kind) for kind in KINDS}
    total = Kinds("kill")
    done = [one for one in struck if one.done]
    for one in done:
        _count(kinds[one.fault.kind], one)
        _count(total, one)
    for call in calls:
        met = {s.fault.kind for s in done if call.began_ns <= s.at_ns <= call.ended_ns}
        for sum_of in (*(kinds[kind] for kind in met), total):
            _add(sum_of, call)
    unclean = [f"{call.id}: {why}" for call in calls for why in _why(call)]
    made = Figures(
        seed, seconds, list(kinds.values()), total, len(struck) - len(done), gauges, unclean
    )
    made.silence_s = {
        "with a fault meanwhile": spread(total.silences_s),
        "without": spread([s for call in calls if not _met(call, done) for s in call.silences_s]),
    }
    return made


def _met(call: Call, done: Sequence[Struck]) -> bool:
    return any(call.began_ns <= one.at_ns <= call.ended_ns for one in done)


def _count(kind: Kinds, one: Struck) -> None:
    kind.faults += 1
    if one.alone and one.noticed_s is not None:
        kind.noticed_s.append(one.noticed_s)
    if one.alone and one.back_s is not None:
        kind.back_s.append(one.back_s)


def _add(kind: Kinds, call: Call) -> None:
    kind.calls += 1
    kind.dropped += bool(call.dropped or call.error)
    kind.account += call.account
    kind.words += call.words
    kind.silences_s += call.silences_s


def _why(call: Call) -> list[str]:
    found = [*call.problems]
    if call.dropped:
        found.append(f"dropped: {call.dropped}")
    if call.error:
        found.append(f"failed: {call.error}")
    if not call.account.exact:
        found.append(f"samples: {call.account}")
    return found


def bars(made: Figures, struck: Sequence[Struck]) -> list[Bar]:
    """What issue 4 asks for; figures that need a long run are left out of a short one."""
    account = made.total.account
    found = [
        _bar("samples lost", account.lost, "samples", "0", lambda v: v == 0),
        _bar("samples transcribed twice", account.duplicated, "samples", "0", lambda v: v == 0),
        _bar("samples out of order", account.reordered, "samples", "0", lambda v: v == 0),
        _bar("samples not as said", account.strange, "samples", "0", lambda v: v == 0),
        _bar("calls dropped", made.total.dropped, "calls", "0", lambda v: v == 0),
        _bar("gauges not back to zero", sum(made.gauges.values()), "", "0", lambda v: v == 0),
        _worst("killed actor back", _back(struck), BACK_S),
        _worst("wedge noticed", _noticed(struck, "wedge"), NOTICED_S),
        _worst("hang of the recogniser noticed", _noticed(struck, "hang"), HANG_S),
    ]
    if made.seconds >= LONG_S:
        least = min(kind.account.samples for kind in made.kinds)
        found += [
            _bar("faults", made.total.faults, "faults", f">= {FAULTS}", lambda v: v >= FAULTS),
            _bar(
                "samples of the kind with fewest",
                least,
                "samples",
                ">= 10⁶",
                lambda v: v >= SAMPLES_PER_KIND,
            ),
        ]
    return found


def _back(struck: Sequence[Struck]) -> list[float]:
    return [
        one.back_s
        for one in struck
        if one.fault.kind == "kill" and one.fault.victim in ACTORS and one.alone and one.back_s
    ]


def _noticed(struck: Sequence[Struck], kind: Kind) -> list[float]:
    return [
        one.noticed_s
        for one in struck
        if one.fault.kind == kind
        and one.fault.victim in (*ACTORS, DECODER)
        and one.alone
        and one.noticed_s
    ]


def _worst(name: str, values: Sequence[float], limit_s: float) -> Bar:
    """The largest of `values`; 0 of none."""
    label = f"{name}, worst of {len(values)}"
    return _bar(label, max(values, default=0.0), "s", f"<= {limit_s:g}", lambda v: v <= limit_s)


def _bar(name: str, value: float, unit: str, must: str, met: Callable[[float], bool]) -> Bar:
    return Bar(name=name, value=value, unit=unit, must=must, met=met(value))
