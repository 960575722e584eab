"""What was recorded and what was said again go in; the differences come out, event by event."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgpack
import msgspec
from msgspec.structs import replace

from bus.recording import Record
from schemas import Audio

Key = tuple[str, int, str, int]
OF_THE_MOMENT = frozenset({"stt_session", "first_token_ms"})
"""Fields that differ in every run of an engine, whatever it is asked."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One field of one event; `only` names the side when the other has no such event at all.

    `at_s`: seconds since the call's first message. `who`: the actor an event is about, where it is
    about one. `nth` counts events of this kind, turn and actor from 1.
    """

    kind: str
    turn: int
    who: str
    nth: int
    at_s: float
    field: str = ""
    recorded: str = ""
    replayed: str = ""
    only: str = ""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Of one call: how many events were compared, how many were the same, and all that differs."""

    call: str
    compared: int
    identical: int
    differences: tuple[Difference, ...]


class Zero(NamedTuple):
    """What times and turns are counted from."""

    at_ns: int
    turns: dict[int, int]

    @staticmethod
    def of(records: Iterable[Record]) -> Zero:
        """Of one call."""
        known = [r for r in records if r.stamp is not None and r.event is not None]
        turns = sorted({r.event.turn for r in known if r.event and r.event.turn})
        first = min((r.stamp.at_ns for r in known if r.stamp), default=0)
        return Zero(first, {turn: number for number, turn in enumerate(turns, 1)})

    def seconds(self, at_ns: int) -> float:
        """Since the first message."""
        return round((at_ns - self.at_ns) / 1e9, 6)


def compare(
    call: str,
    recorded: Sequence[Record],
    replayed: Sequence[Record],
    zero: Zero,
    stamps: bool,
    slack_ns: int = 0,
) -> Comparison:
    """Byte for byte; without `stamps`, only what the events say, less what is of the moment.

    Moments less than `slack_ns` apart count as the same.
    """
    one, other = _sides(recorded), _sides(replayed)
    keys = sorted({**one, **other}, key=lambda key: _at_ns(one.get(key) or other[key]))
    found = [
        list(_differences(key, one.get(key), other.get(key), stamps, zero, slack_ns))
        for key in keys
    ]
    return Comparison(
        call=call,
        compared=len(keys),
        identical=found.count([]),
        differences=tuple(difference for some in found for difference in some),
    )


def compare_sound(
    call: str, recorded: Sequence[Record], replayed: Sequence[Record], zero: Zero
) -> Comparison:
    """All sound of one kind and turn is one thing: its samples and their hash."""
    one, other = _sounds(recorded), _sounds(replayed)
    keys = sorted({*one, *other})
    found = [
        Difference(
            kind=kind,
            turn=zero.turns.get(turn, turn),
            who="",
            nth=1,
            at_s=zero.seconds(zero.at_ns),
            field="sound",
            recorded=one.get((kind, turn), "none"),
            replayed=other.get((kind, turn), "none"),
        )
        for kind, turn in keys
        if one.get((kind, turn)) != other.get((kind, turn))
    ]
    return Comparison(
        call=call,
        compared=len(keys),
        identical=len(keys) - len(found),
        differences=tuple(found),
    )


def _sounds(records: Sequence[Record]) -> dict[tuple[str, int], str]:
    pcm: dict[tuple[str, int], list[bytes]] = defaultdict(list)
    for record in records:
        if isinstance(record.event, Audio):
            pcm[_kind(record), record.event.turn].append(record.event.pcm)
    return {key: _sound(b"".join(pieces)) for key, pieces in pcm.items()}


def _sound(pcm: bytes) -> str:
    return f"{len(pcm) // 2} samples, sha256 {hashlib.sha256(pcm).hexdigest()[:16]}"


def _sides(records: Iterable[Record]) -> dict[Key, Record]:
    """Each event under its kind, turn, who it is about, and its number among those."""
    counts: Counter[tuple[str, int, str]] = Counter()
    sides = {}
    for record in records:
        assert record.event is not None
        key = (_kind(record), record.event.turn, getattr(record.event, "actor", ""))
        counts[key] += 1
        sides[*key, counts[key]] = record
    return sides


def _kind(record: Record) -> str:
    return record.frames[0].partition(b"\0")[0].decode()


def _at_ns(record: Record) -> int:
    return record.stamp.at_ns if record.stamp else 0


def _differences(
    key: Key, one: Record | None, other: Record | None, stamps: bool, zero: Zero, slack_ns: int
) -> Iterator[Difference]:
    there = one or other
    assert there is not None
    kind, turn, who, nth = key
    at_s = zero.seconds(_at_ns(there))
    about = Difference(kind=kind, turn=zero.turns.get(turn, turn), who=who, nth=nth, at_s=at_s)
    if other is None:
        yield replace(about, only="recorded", recorded=_text(_body(there)))
    elif one is None:
        yield replace(about, only="replayed", replayed=_text(_body(there)))
    elif one.frames != other.frames:
        names = list(_changed(_fields(one, stamps), _fields(other, stamps), zero, slack_ns))
        if stamps and not names and not slack_ns:
            names = [("bytes", repr(one.frames[1:]), repr(other.frames[1:]))]
        for name, was, now in names:
            yield replace(about, field=name, recorded=was, replayed=now)


def _changed(
    before: dict[str, Any], after: dict[str, Any], zero: Zero, slack_ns: int
) -> Iterator[tuple[str, str, str]]:
    for name in before | after:
        was, now = before.get(name, "none"), after.get(name, "none")
        if was != now and not (_moment(name, was, now) and abs(was - now) < slack_ns):
            yield name, _shown(name, was, zero), _shown(name, now, zero)


def _moment(name: str, *values: Any) -> bool:
    return name.endswith("_ns") and all(isinstance(value, int) for value in values)


def _shown(name: str, value: Any, zero: Zero) -> str:
    """Moments as seconds into the call."""
    if _moment(name, value):
        return f"{zero.seconds(value):.6f} s"
    return str(value)


def _fields(record: Record, stamps: bool) -> dict[str, Any]:
    body = dict(_flat("", _body(record)))
    if not stamps:
        return {name: value for name, value in body.items() if name not in OF_THE_MOMENT}
    stamp = _flat("stamp.", msgpack.unpackb(record.frames[1], raw=False))
    return {**dict(stamp), **body}


def _body(record: Record) -> dict[str, Any]:
    body: dict[str, Any] = msgpack.unpackb(record.frames[2], raw=False, strict_map_key=False)
    return {name: value for name, value in body.items() if name not in ("kind", "call", "pcm")}


def _flat(before: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Nested maps and lists as dotted names."""
    pairs: Iterable[tuple[Any, Any]]
    if isinstance(value, dict) and value:
        pairs = value.items()
    elif isinstance(value, list) and value:
        pairs = enumerate(value)
    else:
        yield before.rstrip("."), value
        return
    for name, inner in pairs:
        yield from _flat(f"{before}{name}.", inner)


def _text(body: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in body.items() if value not in ("", [], {}))
