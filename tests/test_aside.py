"""Networks on a thread of their own: each question is answered once, in the loop, whatever they do."""

from __future__ import annotations

import asyncio
import threading

import pytest
import structlog

from actors import aside
from actors.aside import Aside
from tests.rig import until


async def test_answers_come_in_the_order_of_the_questions_and_in_the_loop() -> None:
    told: list[float] = []
    where: list[str] = []

    def odds(pcm: bytes) -> float:
        where.append(threading.current_thread().name)
        return float(len(pcm))

    asking = Aside(odds)
    async with asyncio.timeout(40):
        for size in (3, 1, 2):
            asking(bytes(size), told.append)
        assert told == []
        await until(lambda: len(told) == 3)
    asking.close()
    assert told == [3.0, 1.0, 2.0]
    assert {name.partition("_")[0] for name in where} == {"odds"}


async def test_networks_that_fail_tell_nothing_and_are_told_of() -> None:
    def broken(pcm: bytes) -> float:
        raise ValueError("no such layer")

    told: list[float] = []
    asking = Aside(broken)
    with structlog.testing.capture_logs() as lines:
        async with asyncio.timeout(40):
            for _ in range(2):
                asking(b"", told.append)
            await until(lambda: len(told) == 2)
    asking.close()
    assert told == [0.0, 0.0]
    assert [line["log_level"] for line in lines] == ["error", "error"]


async def test_networks_that_hang_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "LONGEST_S", 0.01)
    free, begun, told = threading.Event(), list[bytes](), list[float]()

    def odds(pcm: bytes) -> float:
        begun.append(pcm)
        free.wait(40)
        return 9.0

    asking = Aside(odds)
    async with asyncio.timeout(40):
        with structlog.testing.capture_logs() as lines:
            asking(b"1", told.append)
            asking(b"2", told.append)
            await until(lambda: len(told) == 2)
        free.set()
        monkeypatch.undo()
        asking(b"3", told.append)
        await until(lambda: len(told) == 3)
    asking.close()
    assert told == [0.0, 0.0, 9.0]
    assert begun == [b"1", b"3"]  # the second was not begun any more
    assert [line["log_level"] for line in lines] == ["warning", "warning"]


async def test_closed_it_answers_nothing_more() -> None:
    free, told = threading.Event(), list[float]()
    asking = Aside(lambda pcm: float(free.wait(40)))
    asking(b"", told.append)
    asking.close()
    free.set()
    asking._thread.shutdown(wait=True)
    await asyncio.sleep(0)
    assert told == []
