"""What all tests share."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """For tests/engine_conformance."""
    parser.addoption(
        "--engine",
        action="append",
        default=[],
        metavar="KIND:NAME",
        help="put an engine of another package through tests/engine_conformance",
    )
