"""One session of the recogniser: orders go in, and whatever it dies of comes out as EngineError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from ulid import ULID

from actors.stall import Stall
from engines.protocols import EngineError, SttSession

log = structlog.get_logger()


@contextmanager
def failing() -> Iterator[None]:
    """Whatever an engine raises, it has failed: an OSError or a bug of its own costs no sample either."""
    try:
        yield
    except EngineError:
        raise
    except Exception as error:  # anybody's code; told whole in the log
        log.exception("an engine raised what it should not")
        raise EngineError(repr(error)) from error


class Pinned:
    """A session and its name, which its results keep for ever. `why`: what it died of."""

    def __init__(self, session: SttSession, stall_ms: float, at_ns: int) -> None:
        self.session, self.id = session, str(ULID())
        self.why = ""
        self.over = False
        self._stall = Stall(stall_ms)
        self._fed = 0
        self._now = at_ns

    def begin(self, utterance: int, first: int) -> None:
        with failing():
            self.session.begin(utterance, first)

    def feed(self, pcm: bytes) -> None:
        """Looked at before a send and after it: a dead session is noticed at once."""
        self._alive()
        with failing():
            self.session.feed(pcm)
        self._fed += len(pcm) // 2
        self._stall.fed(self._now)
        self._alive()

    def finish(self) -> None:
        self._alive()
        with failing():
            self.session.finish()
        self._stall.fed(self._now)

    def settle(self) -> None:
        with failing():
            self.session.settle()

    def resume(self) -> None:
        with failing():
            self.session.resume()

    def look_again(self) -> bool:
        if (look := getattr(self.session, "look_again", None)) is None:
            return False
        with failing():
            return look() is not False

    def _alive(self) -> None:
        if dead := getattr(self.session, "dead", ""):
            raise EngineError(dead)

    def told(self, nothing_owed: bool) -> None:
        """It has said something."""
        self._stall.result(self._now, nothing_owed)

    def check(self, at_ns: int, nothing_owed: bool) -> None:
        """Raises EngineError when it is dead or hangs."""
        self._now = at_ns
        self._alive()
        if hasattr(self.session, "worked_on"):
            heard = self.session.worked_on
            self._stall.worked(
                heard, heard is not None and heard >= self._fed and nothing_owed, at_ns
            )
        if self._stall.hangs(at_ns) and self._stall.hangs(
            at_ns, getattr(self.session, "runs", False)
        ):
            raise EngineError("it hangs: sound goes in and nothing comes out")
