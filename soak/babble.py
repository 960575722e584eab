"""Frames at random: a seed goes in; valid messages and mutations of them come out."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from bus.errors import WireError
from bus.wire import KINDS, MAX_FRAME_BYTES, pack, unpack
from schemas import Event, Stamp

Frames = list[bytes]
INT64 = 1 << 62
CALLS = ("", "A", "Ü")
FRESH_EVERY = 40
"""Messages until there is a new call: the old one has been closed or fenced by then."""
NAMES = ("llm", "stt", "tts", "", "nobody")
JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    1 << 63,
    0.5,
    float("nan"),
    float("inf"),
    "x",
    b"x",
    [],
    {"a": [1]},
)
DEEP = b"\x91" * 50_000 + b"\xc0"
ENDLESS = b"\xdd\xff\xff\xff\xff"
"""A list said to be of four billion."""
HUGE = bytes(MAX_FRAME_BYTES + 1)


class Babbler:
    """Everything that may be said on the bus, and much that may not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._said = 0
        self._mutations: tuple[Callable[[Frames], Frames], ...] = (
            *(self._flipped, self._cut, self._doubled, self._missing, self._swapped),
            *(self._other_version, self._other_body, self._other_call, self._other_type),
            *(self._grown, self._noise, self._odd),
        )

    def message(self, *kinds: type[Event]) -> Frames:
        """A valid message of one of these kinds, or of any."""
        self._said += 1
        kind = self.random.choice(kinds or tuple(KINDS.values()))
        stamp = Stamp(
            source=self.random.choice(NAMES), inc=1, seq=self.random.randrange(9), at_ns=1
        )
        return pack(self._struct(kind), stamp)

    def mutated(self, frames: Frames) -> Frames:
        """The same, damaged somehow."""
        return self.random.choice(self._mutations)(frames)

    def _struct(self, cls: type) -> Any:
        made = cls(**{name: self._of(kind) for name, kind in _fields(cls)})
        if issubclass(cls, Event):
            fresh = f"C{self._said // FRESH_EVERY}"
            call = self.random.choice((*CALLS, *[fresh] * 5))
            turn = self.random.choice((0, 1, 2, self._int(-9, 9)))
            made = msgspec.structs.replace(made, call=call, turn=turn)
        return made

    def _of(self, kind: inspect.Type) -> Any:
        if isinstance(kind, inspect.IntType):
            return self._int(-INT64 if kind.ge is None else kind.ge, kind.le or INT64)
        if isinstance(kind, inspect.VarTupleType):
            return tuple(self._of(kind.item_type) for _ in range(self.random.randrange(3)))
        if isinstance(kind, inspect.TupleType):
            return tuple(map(self._of, kind.item_types))
        if isinstance(kind, inspect.DictType):
            return {self._of(kind.key_type): self._of(kind.value_type)}
        if isinstance(kind, inspect.UnionType):
            return self._of(self.random.choice(kind.types))
        if isinstance(kind, inspect.LiteralType):
            return self.random.choice(kind.values)
        if isinstance(kind, inspect.StructType):
            return self._struct(kind.cls)
        return self._plain(kind)

    def _plain(self, kind: inspect.Type) -> Any:
        if isinstance(kind, inspect.BoolType):
            return self.random.random() < 0.5
        if isinstance(kind, inspect.FloatType):
            return self.random.choice((0.0, 1.5, -1e300, float("nan"), float("inf")))
        if isinstance(kind, inspect.BytesType):
            return self.random.randbytes(2 * self.random.randrange(400))
        if isinstance(kind, inspect.StrType):
            return self.random.choice(("", "stop", "what time is it", "ü\0", *NAMES))
        return None

    def _int(self, low: int, high: int) -> int:
        """Small ones most often, limits sometimes."""
        near = self.random.randrange(0, 50)
        return min(high, max(low, self.random.choice((near, near, near, low, high))))

    # -- damage: the topic is left alone in most, since a subscription would filter it out -----------

    def _flipped(self, frames: Frames) -> Frames:
        at = self.random.randrange(1, len(frames))
        damaged = bytearray(frames[at])
        for _ in range(self.random.randrange(1, 4)):
            if damaged:
                damaged[self.random.randrange(len(damaged))] ^= 1 << self.random.randrange(8)
        return [*frames[:at], bytes(damaged), *frames[at + 1 :]]

    def _cut(self, frames: Frames) -> Frames:
        at = self.random.randrange(1, len(frames))
        size = self.random.randrange(len(frames[at])) if frames[at] else 0
        return [*frames[:at], frames[at][:size], *frames[at + 1 :]]

    def _doubled(self, frames: Frames) -> Frames:
        at = self.random.randrange(len(frames))
        return [*frames[: at + 1], *frames[at:]]

    def _missing(self, frames: Frames) -> Frames:
        return frames[: self.random.randrange(1, len(frames))]

    def _swapped(self, frames: Frames) -> Frames:
        rest = frames[1:]
        self.random.shuffle(rest)
        return [frames[0], *rest]

    def _other_version(self, frames: Frames) -> Frames:
        stamp = msgspec.msgpack.decode(frames[1])
        stamp["v"] = self.random.choice((0, 2, "1", None, 1 << 40))
        return [frames[0], msgspec.msgpack.encode(stamp), *frames[2:]]

    def _other_body(self, frames: Frames) -> Frames:
        return [*frames[:2], self.message()[2], *frames[3:]]

    def _other_call(self, frames: Frames) -> Frames:
        return [frames[0] + self.random.choice((b"X", b"\xff", b"\0")), *frames[1:]]

    def _other_type(self, frames: Frames) -> Frames:
        at = self.random.choice((1, 2))
        fields = msgspec.msgpack.decode(frames[at])
        fields[self.random.choice(tuple(fields))] = self.random.choice(JUNK)
        return [*frames[:at], msgspec.msgpack.encode(fields), *frames[at + 1 :]]

    def _grown(self, frames: Frames) -> Frames:
        at = self.random.randrange(1, len(frames))
        large = (
            self.random.choice((DEEP, DEEP, DEEP, HUGE))
            if self.random.random() < 0.2
            else b"\xdd\xff\xff\xff\xff"
        )
        return [*frames[:at], large, *frames[at + 1 :]]

    def _noise(self, frames: Frames) -> Frames:
        count = self.random.randrange(6)
        return [
            frames[0],
            *(self.random.randbytes(self.random.randrange(60)) for _ in range(count)),
        ]

    def _odd(self, frames: Frames) -> Frames:
        return [*frames[:3], b"abc"]


def refused(frames: Frames) -> bool:
    """Whether these are no event. Raises whatever else `unpack` raises: that is a find."""
    try:
        unpack(frames)
    except WireError:
        return True
    return False


@cache
def _fields(cls: type) -> tuple[tuple[str, inspect.Type], ...]:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return tuple((field.name, field.type) for field in info.fields)
