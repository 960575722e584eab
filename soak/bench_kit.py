"""What all benches share: measured figures go in, rows with a bar and a verdict come out."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec
import numpy as np
import zmq

Context = zmq.Context[zmq.Socket[bytes]]
Tell = Callable[[str], None]
_HOLDS = {"<=": operator.le, ">=": operator.ge}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. Without a bar it is for information; `verdict` is None then."""

    bench: str
    name: str
    value: float
    unit: str
    bar: float | None = None
    sense: Literal["<=", ">="] = "<="

    @property
    def verdict(self) -> bool | None:
        """Whether the bar is met."""
        return None if self.bar is None else bool(_HOLDS[self.sense](self.value, self.bar))


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A finished bench: its rows, and what else may be of use to who wants to know why."""

    bench: str
    rows: tuple[Row, ...]
    seconds: float = 0.0
    detail: dict[str, object] = {}


class Bench(Protocol):
    """One speed bench: `tiny` runs the whole machinery with a handful of samples."""

    def __call__(self, tell: Tell, tiny: bool) -> Result: ...


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` percent of `values` do not exceed; NaN of nothing."""
    if not values:
        return float("nan")
    return float(np.percentile(np.asarray(values), share, method="inverted_cdf"))


def spread(bench: str, name: str, values: Sequence[float], unit: str) -> list[Row]:
    """p50, p95, p99 and max, for information."""
    shares = (("p50", 50), ("p95", 95), ("p99", 99), ("max", 100))
    return [
        Row(bench=bench, name=f"{name} {label}", value=percentile(values, share), unit=unit)
        for label, share in shares
    ]
