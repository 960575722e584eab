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
    `second`: a second look at it follows (`stt.second`).
    """

    utterance: int
    text: str
    start: int
    end: int
    words: tuple[Word, ...] = ()
    channel: int = 0
    stt_session: str = ""
    more: bool = False
    second: bool = False


class SecondLook(Event, frozen=True, tag="stt.second"):
    """What a second look makes of a short utterance said over the agent; its final words stay.

    `text`: its words when all of it is taken at once. `command_nats`: how much better a command or a
    question's opening fits the sound than a backchannel does (log likelihood); 0.0: neither fits.
    """

    utterance: int
    text: str
    start: int
    end: int
    channel: int = 0
    stt_session: str = ""
    command_nats: float = 0.0


class SessionOpened(Event, frozen=True, tag="stt.session"):
    """A session of the recogniser takes up the channel at sample `first` (16 kHz)."""

    stt_session: str
    first: int = 0
    channel: int = 0


class SttDegraded(Event, frozen=True, tag="stt.degraded"):
    """The channel's live recogniser is away; its sound is kept, and transcribed in batches."""

    batch_mode: bool
    batch_interval_s: float
    degraded_for_s: float = 0.0
    why: str = ""
    channel: int = 0


class SttRecovered(Event, frozen=True, tag="stt.recovered"):
    """The channel is recognised live again, everything meanwhile included."""

    batch_mode: bool
    batch_interval_s: float
    degraded_for_s: float
    channel: int = 0
