"""Logs: in come a process's name and a level, out go JSON lines on stderr with call_id and turn_id."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import structlog


def configure(process: str, level: str = "info") -> None:
    """One JSON object a line, each with the process's name."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)


class Seldom:
    """A warning that may come in floods: the first at once, then one line a second with a count."""

    EVERY_S = 1.0

    def __init__(self, what: str) -> None:
        self._what = what
        self._log = structlog.get_logger()
        self._count = 0
        self._next_s = 0.0

    def warn(self, **fields: Any) -> None:
        """One more; `times` in the line says how many there were since the last line."""
        self._count += 1
        if (now_s := time.monotonic()) >= self._next_s:
            self._log.warning(self._what, times=self._count, **fields)
            self._count, self._next_s = 0, now_s + self.EVERY_S
