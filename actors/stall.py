"""Sound fed to a recogniser and what comes back go in; whether it hangs comes out. Pure."""

from __future__ import annotations

RUNS_FACTOR = 4
"""So many times longer may one be silent that runs, or would if it were let."""
LOADING_MS = 10_000
"""A session that has never said anything may still be loading its model."""


class Stall:
    """One session. Times in ns. `limit_ms`: so long may sound go in with nothing coming out."""

    def __init__(self, limit_ms: float) -> None:
        self._limit_ns = int(limit_ms * 1e6)
        self._loading_ns = max(self._limit_ns, int(LOADING_MS * 1e6))
        self._waits_since_ns: int | None = None
        self._worked = -1
        self._can_tell = False

    def fed(self, at_ns: int) -> None:
        """Sound, or the end of an utterance, went in."""
        if self._waits_since_ns is None:
            self._waits_since_ns = at_ns

    def result(self, at_ns: int, nothing_owed: bool) -> None:
        """Words came out; `nothing_owed`: all that went in is answered."""
        self._waits_since_ns = None if nothing_owed else at_ns

    def worked(self, samples: int | None, all_done: bool, at_ns: int) -> None:
        """An engine that tells how far it has worked: `samples` so far, None while it loads."""
        self._can_tell = True
        if samples is None or samples == self._worked:
            return
        self._worked = samples
        self._waits_since_ns = None if all_done else at_ns

    def hangs(self, at_ns: int, runs: bool = False) -> bool:
        """Whether it has been owing something for too long. `runs`: the system says that it is at work.

        A decoder short of CPU is slow, and to put another in its place would make it worse: it gets longer.
        """
        if self._waits_since_ns is None:
            return False
        loading = self._can_tell and self._worked < 0
        limit_ns = self._loading_ns if loading else self._limit_ns
        if runs:
            limit_ns *= RUNS_FACTOR
        return at_ns - self._waits_since_ns >= limit_ns
