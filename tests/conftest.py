"""What all tests share."""

from __future__ import annotations

import pytest
import structlog

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)
"""As an actor's logs: a traceback is a few lines. By default one draws every local variable, for 100 ms and
more, during which a lane that has just failed answers nothing else."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """For tests/engine_conformance."""
    parser.addoption(
        "--engine",
        action="append",
        default=[],
        metavar="KIND:NAME",
        help="put an engine of another package through tests/engine_conformance",
    )


REAL_TIME = (
    *("bad_calls", "bench", "chaos", "fleet", "fuzz", "law_of_cancel", "replay", "supervisor"),
    *("talk", "tap", "warden"),
)
"""Tests that live by the clock or start fleets: `make test` runs them one after the other."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `-n 2 --dist loadgroup` one process has these, the other takes whole modules of the rest."""
    for item in items if config.pluginmanager.hasplugin("xdist") else ():
        module = item.path.stem.removeprefix("test_")
        group = "real time" if module in REAL_TIME else f"{item.path.parent.name}/{module}"
        item.add_marker(pytest.mark.xdist_group(group))
