"""Records of a journal go in and bytes come out; from bytes, the records that are whole. Pure.

A segment is a header (20 bytes: `BIJL`, version, checksum, number of its first sample) and then
records: checksum, length of the body, position, kind, body; all little-endian. The checksum is CRC-32
over everything of the record behind it. A record is 16-bit samples, or a mark in msgpack. What a
crash cut off, or a disk spoilt, ends the segment there; nothing behind it is believed.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from zlib import crc32

from bus.errors import BargeinError

MAGIC = b"BIJL"
VERSION = 1
SOUND, MARK = 0, 1
LONGEST_BODY = 1 << 20
"""Bytes. A length beyond it is damage, not a reason to read on."""

_HEADER = struct.Struct("<4sHHIQ")
_RECORD = struct.Struct("<IIQB")
_SEALED = struct.Struct("<IQB")
HEADER_BYTES, RECORD_BYTES = _HEADER.size, _RECORD.size


class NoSegment(BargeinError):
    """The bytes are no segment of this version; nothing of them can be used."""

    exit_code = 65


class Record(NamedTuple):
    """`at`: the number of the first sample of `body`, or for a mark of the next sample to come."""

    kind: int
    at: int
    body: bytes

    @property
    def end(self) -> int:
        """The sample after it."""
        return self.at + (len(self.body) // 2 if self.kind == SOUND else 0)


class Scan(NamedTuple):
    """`good`: bytes up to which all is whole. `problem`: why it ends there, "" at the file's end."""

    first: int
    records: list[Record]
    good: int
    problem: str


def header(first: int) -> bytes:
    """The beginning of a segment whose first record is at `first`."""
    sealed = crc32(first.to_bytes(8, "little") + VERSION.to_bytes(2, "little"))
    return _HEADER.pack(MAGIC, VERSION, 0, sealed, first)


def encode(record: Record) -> bytes:
    """The bytes of a record."""
    tail = _SEALED.pack(len(record.body), record.at, record.kind)
    return crc32(record.body, crc32(tail)).to_bytes(4, "little") + tail + record.body


def scan(data: bytes) -> Scan:
    """The records at the beginning of `data` that are whole. Raises NoSegment."""
    first = _first(data)
    records: list[Record] = []
    at = HEADER_BYTES
    while at < len(data):
        record, problem = _next(data, at)
        if record is None:
            return Scan(first, records, at, problem)
        records.append(record)
        at += RECORD_BYTES + len(record.body)
    return Scan(first, records, at, "")


def _first(data: bytes) -> int:
    if len(data) < HEADER_BYTES:
        raise NoSegment(f"only {len(data)} bytes: cut off within its header")
    magic, version, _, checksum, first = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise NoSegment("no journal segment")
    if version != VERSION:
        raise NoSegment(f"of journal version {version}, this is {VERSION}")
    if checksum != crc32(first.to_bytes(8, "little") + version.to_bytes(2, "little")):
        raise NoSegment("its header is damaged")
    return int(first)


def _next(data: bytes, at: int) -> tuple[Record | None, str]:
    if len(data) - at < RECORD_BYTES:
        return None, f"cut off at byte {at}"
    checksum, length, position, kind = _RECORD.unpack_from(data, at)
    begin = at + RECORD_BYTES
    if length > LONGEST_BODY or kind not in (SOUND, MARK):
        return None, f"damaged at byte {at}"
    if len(data) - begin < length:
        return None, f"cut off at byte {at}"
    body = data[begin : begin + length]
    if crc32(body, crc32(data[at + 4 : begin])) != checksum:
        return None, f"damaged at byte {at}"
    return Record(kind, position, body), ""
