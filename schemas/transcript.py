"""Recognised words, with the caller samples they were recognised from (16 kHz positions)."""

from __future__ import annotations

import msgspec

from schemas.event import Event


class Word(msgspec.Struct, frozen=True):
    """One word and the samples it spans: [start, end)."""

    text: str
    start: int
    end: int


class Partial(Event, frozen=True, tag="stt.partial"):
    """What the words of an utterance look like so far; may change.

    `settled`: the caller pauses, and these will be the final words if he says no more.
    """

    utterance: int
    text: str
    start: int
    end: int
    channel: int = 0
    stt_session: str = ""
    settled: bool = False


class Final(Event, frozen=True, tag="stt.final"):
    """The words of samples [start, end), for good. Empty text: nothing was understood.

    `more`: the utterance was too long for one; another final of the same name follows.
    """

    utterance: int
    text: str
    start: int
    end: int
    words: tuple[Word, ...] = ()
    channel: int = 0
    stt_session: str = ""
    more: bool = False
