"""What a recogniser in a process of its own is told and tells: PCM of utterances in, hypotheses back.

The process is `python -P -m MODULE PARTIAL_MS` with a socket as file descriptor 0; MODULE ends in `run`.
Each message is four bytes of length (big endian) and a msgpack struct below. The process ends when its
parent does: at the end of the stream, or at once by the kernel when the parent was killed. SIGINT
and SIGTERM are ignored, so that a Ctrl-C in the terminal leaves the parent its last words.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

import msgspec

from engines.protocols import Hypothesis

SAMPLES_PER_MS = 16
PR_SET_PDEATHSIG = 1
NICE = 10
"""Decoding is the one thing here that fills a core; a CANCEL or a frame of sound goes first."""


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """An utterance starts with sample `first` of the call."""

    utterance: int
    first: int


class Pcm(msgspec.Struct, frozen=True, tag="pcm"):
    """The next sound of the utterance: mono int16 at 16 kHz, any length."""

    pcm: bytes


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """The utterance is over: its final is wanted."""


class Settle(msgspec.Struct, frozen=True, tag="settle"):
    """A pause: what would the final be if the utterance ended here?"""


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """It did not end there."""


class Again(msgspec.Struct, frozen=True, tag="again"):
    """A second look at the utterance finished last, if it was short."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The model is loaded."""


class Heard(msgspec.Struct, frozen=True, tag="heard"):
    """So many bytes of `Pcm` have been worked on since the process began."""

    total: int


class Said(msgspec.Struct, frozen=True, tag="said"):
    """A partial or a final."""

    hypothesis: Hypothesis


Order = Begin | Pcm | Finish | Settle | Resume | Again
Report = Ready | Heard | Said

HEADER = 4
ORDERS: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
REPORTS: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)
_ENCODER = msgspec.msgpack.Encoder()


def pack(message: Order | Report) -> bytes:
    """The bytes of a message: its length, then its content."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(HEADER, "big") + body


class Listens(Protocol):
    """One utterance after another; positions are samples of the call (16 kHz), sound is mono int16 PCM."""

    def begin(self, utterance: int, first: int) -> None:
        """Start an utterance at sample `first`."""
        ...

    def feed(self, pcm: bytes) -> Iterator[Hypothesis]:
        """The next sound, any length; partials."""
        ...

    def finish(self) -> Hypothesis:
        """What it all was."""
        ...

    def settle(self) -> Iterator[Hypothesis]:
        """What `finish` would say now, as a settled partial."""
        ...

    def resume(self) -> Iterator[Hypothesis]:
        """It goes on after a `settle`."""
        ...

    def again(self) -> Iterator[Hypothesis]:
        """A second look at what was finished last, if there is one."""
        ...


def serve(orders: Iterator[Order], listener: Listens, tell: Callable[[Report], None]) -> None:
    """Carry out orders until there are no more."""
    total = 0
    for order in orders:
        match order:
            case Begin(utterance, first):
                listener.begin(utterance, first)
            case Pcm(pcm):
                for partial in listener.feed(pcm):
                    tell(Said(partial))
                total += len(pcm)
                tell(Heard(total))
            case Finish():
                tell(Said(listener.finish()))
            case Settle():
                for partial in listener.settle():
                    tell(Said(partial))
            case Resume():
                for partial in listener.resume():
                    tell(Said(partial))
            case Again():
                for look in listener.again():
                    tell(Said(look))


def read(stream: BinaryIO) -> Iterator[Order]:
    """Messages of the parent until it is gone, even if in the middle of one."""
    while len(header := stream.read(HEADER)) == HEADER:
        size = int.from_bytes(header, "big")
        if len(body := stream.read(size)) < size:
            return
        yield ORDERS.decode(body)


def run(make: Callable[[int], Listens]) -> None:
    """Load the model, report ready, serve until the parent is gone.

    `make`: samples of sound between two looks for new partial text go in, a loaded recogniser comes out.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(NICE)
    listener = make(int(sys.argv[1]) * SAMPLES_PER_MS)
    with socket.socket(fileno=0) as line, line.makefile("rb") as stream:
        try:
            line.sendall(pack(Ready()))
            serve(read(stream), listener, lambda report: line.sendall(pack(report)))
        except (BrokenPipeError, ConnectionResetError):
            return  # the parent is gone: nobody is left to tell
