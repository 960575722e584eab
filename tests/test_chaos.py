"""Chaos in small: its parts by themselves, and a seeded run against a real fleet with real speech."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.segments import Segment, problems
from soak.chaos.account import Fed, by_content, by_position, words
from soak.chaos.faults import KINDS, WAYS, plan
from soak.chaos.orders import Orders, Told, reset_all, send
from soak.chaos.proxy import Proxy
from soak.chaos.run import Order, run

SECONDS = float(os.environ.get("BARGEIN_CHAOS_SECONDS", "16"))


def test_no_sample_is_lost_whatever_is_done_to_the_fleet(tmp_path: Path) -> None:
    """`bargein chaos --minutes 30` is the whole of it."""
    told: list[str] = []
    made = run(Order(seed=4, seconds=SECONDS, every_s=0.9, kept=tmp_path), told.append)
    assert told
    assert made.figures.unclean == []
    assert [bar.name for bar in made.bars if not bar.met and bar.unit != "s"] == []
    assert made.figures.total.faults >= SECONDS / 2
    assert made.figures.total.account.samples > 16_000 * SECONDS
    words = made.figures.total.words
    assert words.missing <= words.said / 10


# -- the account ------------------------------------------------------------------------------------


def quiet(start: int, end: int) -> Segment:
    return Segment(channel=0, start=start, end=end, kind="quiet")


def live(start: int, end: int) -> Segment:
    return Segment(channel=0, start=start, end=end, kind="live", text="word")


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), max_size=8)


@given(spans, st.integers(0, 130))
def test_the_account_is_exact_where_the_checker_finds_nothing(
    found: list[tuple[int, int]], end: int
) -> None:
    segments = [quiet(start, min(start + size, end)) for start, size in found if start < end]
    account = by_position(segments, end)
    assert account.exact == (problems(segments, end) == [] if segments else end == 0)
    assert account.samples == end == account.transcribed + account.lost
    positions = Counter(at for one in segments for at in range(one.start, one.end))
    assert account.lost == end - len(positions)


def test_holes_copies_disorder_and_losses_are_told_apart() -> None:
    assert by_position([quiet(0, 10), quiet(10, 20)], 20).exact
    assert by_position([quiet(0, 10), quiet(12, 20)], 20).lost == 2
    assert by_position([quiet(0, 10), quiet(8, 20)], 20).duplicated == 2
    assert by_position([quiet(10, 20), quiet(0, 10)], 20).reordered == 10
    given_up = Segment(channel=0, start=5, end=9, kind="lost")
    assert by_position([given_up, quiet(0, 20)], 20).lost == 4


def test_words_count_only_if_their_recogniser_was_given_what_the_caller_said() -> None:
    caller = bytes(range(200))
    fed = [
        Fed(10, 30, crc32(caller[20:60])),
        Fed(40, 60, crc32(bytes(40))),
        Fed(60, 90, crc32(caller[120:180]), batch=True),
    ]
    assert by_content([quiet(0, 10), live(10, 30)], caller, fed) == 0
    assert by_content([live(40, 60)], caller, fed) == 20
    assert by_content([live(10, 29)], caller, fed) == 19
    batch = Segment(channel=0, start=65, end=80, kind="batch", text="word")
    assert by_content([batch], caller, fed) == 0


def test_words_that_are_missing_are_counted_in_their_place() -> None:
    found = words("what time is it", "what is it now")
    assert (found.said, found.missing, found.more) == (4, 1, 1)


# -- faults -----------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_a_seed_gives_the_same_faults_of_every_kind(seed: int) -> None:
    faults = plan(seed, 100, 1.0)
    assert faults == plan(seed, 100, 1.0)
    counted = Counter(fault.kind for fault in faults)
    assert set(counted) == set(KINDS)
    assert max(counted.values()) - min(counted.values()) <= 1
    assert all((fault.victim, fault.how) in WAYS[fault.kind] for fault in faults)
    assert max(Counter(fault.pair for fault in faults).values()) == 2


def test_an_order_is_carried_out_once_and_noted(tmp_path: Path) -> None:
    orders = Orders(tmp_path, "stt")
    told = Told(tmp_path)
    told.start()
    orders.start()
    assert not send(tmp_path, "nobody", do="raise", at="feed")
    assert send(tmp_path, "stt", do="raise", at="feed")
    while not (taken := orders.take("feed")):
        pass
    assert taken == "raise"
    assert orders.take("feed") == ""
    told.close()
    assert told.notes == [{"actor": "stt", "did": "raise", "at": "feed"}]


def test_connections_to_others_are_reset_and_pairs_of_our_own_are_not(tmp_path: Path) -> None:
    """In a process of its own: every connection of this one would go too."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        path = str(tmp_path / "door")
        server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen()
        client.connect(path)
        one, _ = socket.socketpair()
        count = reset_all()
        one.send(b"x")  # still whole
        os.write(writing, bytes([count, not client.recv(1)]))
        os._exit(0)
    os.waitpid(child, 0)
    count, ended = os.read(reading, 2)
    os.close(reading)
    os.close(writing)
    assert count >= 1
    assert ended == 1


async def test_the_proxy_relays_stalls_resets_and_refuses() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    await proxy.open()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"data: 1")
        assert await reader.readexactly(7) == b"data: 1"
        proxy.garbage()
        writer.write(b"data: 2")
        assert (await reader.readuntil(b"data: 2")).startswith(b"data: {")
        assert proxy.reset()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
        refusing = asyncio.create_task(proxy.refuse(0.05))
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        await refusing
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.close()
    finally:
        await proxy.close()
        server.close()
        await server.wait_closed()
