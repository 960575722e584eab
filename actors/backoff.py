"""The number of an attempt and a die's throw go in, how long to wait before it comes out. Pure.

Exponential with "equal jitter" (M. Brooker, "Exponential Backoff And Jitter", 2015): half of the step is
certain, the other half is thrown.
"""

from __future__ import annotations

FIRST_S = 0.2
LONGEST_S = 32.0
DOUBLINGS = 8
"""0.2 s doubled eight times is above 32 s: no attempt needs a larger power, nor would a float hold one."""
ATTEMPTS = 10
"""Per recovery task."""


def backoff_s(attempt: int, thrown: float) -> float:
    """Seconds before `attempt` (from 1); `thrown` is in [0, 1). Never above 32 s."""
    step: float = min(LONGEST_S, FIRST_S * 2.0 ** min(max(attempt, 1) - 1, DOUBLINGS))
    return step / 2 + thrown * step / 2
