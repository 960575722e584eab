"""Frames on the wire: an event and its stamp become [topic, stamp, body(, pcm)], and back.

topic = kind NUL call; stamp and body are msgpack maps (body carries `kind`); pcm is raw
little-endian int16. docs/bus.md tells a peer in another language all it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

import schemas
from bus.errors import WireError
from schemas import WIRE_VERSION, Acked, Audio, Cancel, Event, Report, RollCall, Stamp

Lane = Literal["events", "media", "control"]
E = TypeVar("E", bound=Event)
SEPARATOR = b"\0"
MAX_FRAME_BYTES = 262_144


class Malformed(WireError):
    """Frames that are no event: wrong count, not msgpack, a missing field or one of another type."""

    counter = "malformed"


class Oversized(WireError):
    """A frame beyond `MAX_FRAME_BYTES`."""

    counter = "oversized"


class UnknownKind(WireError):
    """A topic this version does not know."""

    counter = "unknown_kind"


class WrongVersion(WireError):
    """A stamp with another wire version."""

    counter = "wrong_version"


def _tag(kind: type[Event]) -> str:
    tag = kind.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


KINDS: dict[bytes, type[Event]] = {
    _tag(kind).encode(): kind
    for kind in vars(schemas).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind not in (Event, Audio, Report)
}
_encode = msgspec.msgpack.Encoder().encode
_decoders = {name: msgspec.msgpack.Decoder(kind).decode for name, kind in KINDS.items()}
_decode_stamp = msgspec.msgpack.Decoder(Stamp).decode
_topics = {kind: name + SEPARATOR for name, kind in KINDS.items()}
_NOT_OURS = (msgspec.DecodeError, UnicodeError, RecursionError)


class _Topic(NamedTuple):
    """What is known of one: its kind, how a body under it is decoded, whose it is."""

    kind: bytes
    decode: Callable[[bytes], Event]
    call: str | None
    audio: bool


_heard: dict[bytes, _Topic] = {}
"""To take a topic to pieces for each frame of each call was a third of `unpack`."""
MOST_TOPICS = 16_384


class _Version(msgspec.Struct):
    v: int


_decode_version = msgspec.msgpack.Decoder(_Version).decode


def prefix(kind: type[Event], call: str = "") -> bytes:
    """What to subscribe to for one kind, of one call or of all."""
    return _topics[kind] + call.encode()


def topic_of(event: Event) -> bytes:
    """The topic an event travels under."""
    return _topics[type(event)] + event.call.encode()


def lane_of(kind: type[Event]) -> Lane:
    """Sound takes the media lane, CANCEL its own, everything else the events lane."""
    if kind in (Cancel, RollCall):
        return "control"
    return "media" if issubclass(kind, Audio) else "events"


def pack(event: Event, stamp: Stamp) -> list[bytes]:
    """Encode; the pcm of an Audio event is its fourth frame."""
    return pack_under(topic_of(event), event, stamp)


def pack_under(topic: bytes, event: Event, stamp: Stamp) -> list[bytes]:
    """The same for who knows the topic."""
    if isinstance(event, Audio):
        bare = msgspec.structs.replace(event, pcm=b"")
        return [topic, _encode(stamp), _encode(bare), event.pcm]
    return [topic, _encode(stamp), _encode(event)]


def pack_short(topic: bytes, event: Event, stamp: Stamp) -> list[bytes]:
    """`pack` for who knows the topic and that the event is no sound: on CANCEL's way each call counts."""
    return [topic, _encode(stamp), _encode(event)]


def _short_way(kind: type[E]) -> Callable[[list[bytes]], E | None]:
    """As `unpack` for one kind, by the shortest way; None when the frames are anything but a good one."""
    topic, decode = _topics[kind], msgspec.msgpack.Decoder(kind).decode

    def unpack_short(frames: list[bytes]) -> E | None:
        if len(frames) != 3 or len(frames[2]) > MAX_FRAME_BYTES or len(frames[1]) > MAX_FRAME_BYTES:
            return None
        try:
            stamp, event = _decode_stamp(frames[1]), decode(frames[2])
            good = stamp.v == WIRE_VERSION and frames[0] == topic + event.call.encode()
        except _NOT_OURS:
            return None
        return event if good else None

    return unpack_short


unpack_cancel = _short_way(Cancel)
unpack_acked = _short_way(Acked)


def unpack(frames: list[bytes], limit: int = MAX_FRAME_BYTES) -> tuple[Event, Stamp]:
    """Decode and validate. Raises a WireError leaf, never anything else.

    Written out, not composed: it runs for every frame of every call.
    """
    count = len(frames)
    if count != 3 and count != 4:
        raise Malformed(f"{count} frames, expected 3 or 4")
    for frame in frames:
        if len(frame) > limit:
            raise Oversized(f"a frame of {len(frame)} bytes, allowed {limit}")
    kind, decode, call, audio = _heard.get(frames[0]) or _look_at(frames[0])
    try:
        stamp = _decode_stamp(frames[1])
        event = decode(frames[2])
    except _NOT_OURS as error:
        raise _refusal(kind, frames[1], error) from None
    if stamp.v != WIRE_VERSION:
        raise WrongVersion(f"wire version {stamp.v}, this is {WIRE_VERSION}")
    if event.call != call:
        raise Malformed(f"{kind.decode()}: the topic names another call than the body")
    if audio:
        _add_sound(event, frames)
    elif count == 4:
        raise Malformed("a sound event has four frames, any other three")
    return event, stamp


def _look_at(topic: bytes) -> _Topic:
    kind, separator, call = topic.partition(SEPARATOR)
    decode = _decoders.get(kind)
    if decode is None or not separator:
        raise UnknownKind(f"topic {topic[:40]!r}")
    try:
        name = call.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        name = None  # no body can say so
    if len(_heard) >= MOST_TOPICS:
        _heard.clear()
    known = _heard[topic] = _Topic(kind, decode, name, issubclass(KINDS[kind], Audio))
    return known


def _refusal(kind: bytes, stamp: bytes, error: Exception) -> WireError:
    """Which of the two frames it was."""
    try:
        decoded = _decode_stamp(stamp)
    except _NOT_OURS:
        return _version_error(stamp) or Malformed(f"stamp: {error}")
    if decoded.v != WIRE_VERSION:
        return WrongVersion(f"wire version {decoded.v}, this is {WIRE_VERSION}")
    return Malformed(f"{kind.decode()}: {error}")


def _version_error(frame: bytes) -> WrongVersion | None:
    """A stamp of another version may have another shape: look at its `v` alone."""
    try:
        version = _decode_version(frame).v
    except _NOT_OURS:
        return None
    if version == WIRE_VERSION:
        return None
    return WrongVersion(f"wire version {version}, this is {WIRE_VERSION}")


def _add_sound(event: Any, frames: list[bytes]) -> None:
    if len(frames) != 4:
        raise Malformed("a sound event has four frames, any other three")
    if len(frames[3]) % 2:
        raise Malformed(f"{len(frames[3])} bytes of pcm: not a whole number of samples")
    msgspec.structs.force_setattr(event, "pcm", frames[3])
