"""The wire: every word survives the way, a plain msgpack peer can take part, all else has a name."""

from __future__ import annotations

from collections.abc import Callable

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import WireError
from bus.wire import (
    KINDS,
    MAX_FRAME_BYTES,
    Malformed,
    Oversized,
    UnknownKind,
    WrongVersion,
    lane_of,
    pack,
    prefix,
    topic_of,
    unpack,
    unpack_acked,
    unpack_cancel,
)
from schemas import WIRE_VERSION, Acked, AgentPcm, Audio, Cancel, Event, Final, Probe, Stamp, Word
from tests.words import events, stamps

STAMP = Stamp(source="stt", inc=1, seq=2, at_ns=3)
FINAL = Final(call="C1", utterance=5, text="grüß dich", start=0, end=9, words=(Word("grüß", 0, 4),))


@settings(max_examples=400, deadline=None)
@given(events(), stamps())
def test_every_kind_survives_the_way(event: Event, stamp: Stamp) -> None:
    assert unpack(pack(event, stamp)) == (event, stamp)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: str(kind.__name__))
def test_a_plain_msgpack_peer_reads_and_writes_every_kind(kind: type[Event]) -> None:
    """Row B2: nothing but the msgpack package, and docs/bus.md."""

    @settings(max_examples=8, deadline=None)
    @given(events(kind), stamps())
    def there_and_back(event: Event, stamp: Stamp) -> None:
        topic, stamp_frame, body_frame, *pcm = pack(event, stamp)
        name, _, call = topic.partition(b"\0")
        read_stamp, body = msgpack.unpackb(stamp_frame), msgpack.unpackb(body_frame)
        assert read_stamp == {**msgspec.to_builtins(stamp), "v": WIRE_VERSION}
        assert body["kind"].encode() == name
        assert body["call"].encode() == call
        assert pcm == ([event.pcm] if isinstance(event, Audio) else [])
        written = [msgpack.packb(read_stamp), msgpack.packb(body)]
        assert unpack([topic, *written, *pcm]) == (event, stamp)

    there_and_back()


def test_a_peer_may_leave_out_defaults_and_add_fields_of_a_later_version() -> None:
    body = {"kind": "stt.final", "call": "C1", "utterance": 5, "text": "", "start": 0, "end": 9}
    stamp = {"source": "peer", "inc": 1, "seq": 0, "at_ns": 1, "v": WIRE_VERSION, "later": [1]}
    frames = [b"stt.final\0C1", msgpack.packb(stamp), msgpack.packb({**body, "mood": "good"})]
    event, read = unpack(frames)
    assert event == Final(call="C1", utterance=5, text="", start=0, end=9)
    assert read.source == "peer"


def frames(**changed: bytes) -> list[bytes]:
    """The frames of FINAL, some of them others."""
    topic, stamp, body = pack(FINAL, STAMP)
    parts = {"topic": topic, "stamp": stamp, "body": body, **changed}
    return [
        parts[name] for name in ("topic", "stamp", "body", *(["pcm"] if "pcm" in parts else []))
    ]


def body(**changed: object) -> bytes:
    return bytes(msgpack.packb({**msgpack.unpackb(frames()[2]), **changed}))


def stamp_of(**changed: object) -> bytes:
    return bytes(msgpack.packb({**msgpack.unpackb(frames()[1]), **changed}))


def sound(pcm: bytes) -> list[bytes]:
    return pack(AgentPcm(call="C1", turn=1, pcm=pcm), STAMP)


DEEP = b"\x91" * 100_000 + b"\xc0"
BAD: dict[str, tuple[list[bytes], type[WireError]]] = {
    "nothing": ([], Malformed),
    "too few": (frames()[:2], Malformed),
    "too many": ([*frames(), b"", b""], Malformed),
    "a fourth frame without sound": (frames(pcm=b""), Malformed),
    "sound without its frame": (sound(b"ab")[:3], Malformed),
    "half a sample": (sound(b"abc"), Malformed),
    "too large": (frames(body=bytes(MAX_FRAME_BYTES + 1)), Oversized),
    "too much sound": (sound(bytes(MAX_FRAME_BYTES + 2)), Oversized),
    "no such kind": (frames(topic=b"stt.finalize\0C1"), UnknownKind),
    "no separator": (frames(topic=b"stt.final"), UnknownKind),
    "not text": (frames(topic=b"\xff\xfe\0C1"), UnknownKind),
    "a later version": (frames(stamp=stamp_of(v=WIRE_VERSION + 1)), WrongVersion),
    "a later version of another shape": (frames(stamp=msgpack.packb({"v": 9})), WrongVersion),
    "a stamp that is none": (frames(stamp=b"\xc1"), Malformed),
    "a stamp of this version, cut": (frames(stamp=msgpack.packb({"v": 1})), Malformed),
    "a stamp before all time": (frames(stamp=stamp_of(at_ns=-1)), Malformed),
    "a sequence beyond all counting": (frames(stamp=stamp_of(seq=(1 << 64) - 1)), Malformed),
    "a body cut short": (frames(body=frames()[2][:-1]), Malformed),
    "a body of another kind": (frames(body=body(kind="stt.partial")), Malformed),
    "a body of another call": (frames(body=body(call="C2")), Malformed),
    "a missing field": (frames(body=msgpack.packb({"kind": "stt.final", "call": "C1"})), Malformed),
    "a field of another type": (frames(body=body(start="soon")), Malformed),
    "not a number": (frames(body=body(start=float("nan"))), Malformed),
    "not UTF-8": (frames(body=frames()[2].replace("ü".encode(), b"\xff\xff")), Malformed),
    "nested deeply": (frames(body=DEEP), Malformed),
    "a stamp nested deeply": (frames(stamp=DEEP), Malformed),
    "a list of four billion": (frames(body=b"\xdd\xff\xff\xff\xff"), Malformed),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_event_is_refused_by_name(name: str) -> None:
    wrong, error = BAD[name]
    with pytest.raises(WireError) as refused:
        unpack(wrong)
    assert type(refused.value) is error
    assert str(refused.value)


def test_a_rate_or_position_that_no_engine_could_bear_is_malformed() -> None:
    for wrong in (
        {"rate": 0},
        {"rate": 1 << 40},
        {"first": -1},
    ):
        topic, stamp, good, pcm = sound(b"ab")
        with pytest.raises(Malformed):
            unpack([topic, stamp, msgpack.packb({**msgpack.unpackb(good), **wrong}), pcm])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=5), st.sampled_from(sorted(KINDS)))
def test_nothing_but_a_wire_error_ever_comes_out(junk: list[bytes], kind: bytes) -> None:
    for attempt in (junk, [kind + b"\0", *junk]):
        with pytest.raises(WireError):
            unpack(attempt)


def regular(frames: list[bytes]) -> Event | None:
    try:
        return unpack(frames)[0]
    except WireError:
        return None


@pytest.mark.parametrize(("kind", "short"), [(Cancel, unpack_cancel), (Acked, unpack_acked)])
def test_the_short_way_finds_what_the_regular_one_finds(
    kind: type[Event], short: Callable[[list[bytes]], Event | None]
) -> None:
    @settings(max_examples=300, deadline=None)
    @given(events(kind), stamps(), st.integers(-1, 2), st.integers(0), st.integers(0, 255))
    def both(event: Event, stamp: Stamp, where: int, at: int, byte: int) -> None:
        frames = pack(event, stamp)
        assert short(frames) == event
        if where >= 0:
            spoiled = bytearray(frames[where])
            spoiled[at % len(spoiled)] = byte
            frames[where] = bytes(spoiled)
        assert repr(short(frames)) == repr(regular(frames))  # not a number is not itself
        assert short(frames[:2]) is short([*frames, b""]) is None

    both()


def test_no_topic_is_the_beginning_of_another() -> None:
    topics = [prefix(kind) for kind in KINDS.values()]
    assert len(set(topics)) == len(KINDS)
    for one in topics:
        assert [other for other in topics if other.startswith(one)] == [one]


def test_a_topic_names_its_call_and_lane() -> None:
    assert topic_of(FINAL) == prefix(Final, "C1") == b"stt.final\0C1"
    assert lane_of(Final) == "events"
    assert lane_of(AgentPcm) == "media"
    assert lane_of(Cancel) == "control"
    assert topic_of(Probe(actor="a", nonce=0)) == prefix(Probe)
