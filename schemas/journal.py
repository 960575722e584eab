"""The journal of caller sound: what the line may forget, what is asked for again, what was kept."""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.event import Audio, Event, Position


class SpeechMark(msgspec.Struct, frozen=True):
    """Where speech began, goes on or ended, as the journal keeps it (16 kHz samples).

    `at`: how many samples were in the journal when it was told. `window`: the end of the voice activity
    window that told it. `end`: as in SpeechEnded. `voiced`, `silent`: samples, as in SpeechContinued.
    """

    at: Position
    kind: Literal["started", "continued", "ended"]
    onset: int
    window: int = 0
    end: int = 0
    voiced: int = 0
    silent: int = 0


class LineConfirmed(Event, frozen=True, tag="line.confirmed"):
    """Sound of the line before `position` (at the line's rate) is kept on disk; it may be forgotten."""

    position: Position
    channel: int = 0


class LineResend(Event, frozen=True, tag="line.resend"):
    """audio_in misses the line's sound from sample `first` (at the line's rate) on."""

    first: Position
    channel: int = 0


class JournalState(Event, frozen=True, tag="journal.state"):
    """Whether caller sound reaches the disk. `protected` false: it is in memory alone, see `why`."""

    protected: bool
    why: str = ""


class JournalDamaged(Event, frozen=True, tag="journal.damaged"):
    """A file of the journal is not what was written there; what could not be read is left out."""

    file: str
    why: str


class AskReplay(Event, frozen=True, tag="journal.replay"):
    """Ask audio_in's door for the call's sound from sample `first` on, at most `most` samples (16 kHz)."""

    first: Position
    most: Position = 80_000
    channel: int = 0


class Replayed(Audio, frozen=True, tag="journal.sound"):
    """The answer: sound in one piece, and the marks told in it.

    `first` is beyond what was asked for when samples before it are not kept. `kept_to`: the journal's
    end at this moment; empty sound with `first` = `kept_to` means there is no more now.
    """

    channel: int = 0
    marks: tuple[SpeechMark, ...] = ()
    kept_to: Position = 0


class AskKept(Event, frozen=True, tag="journal.list"):
    """Ask audio_in's door whose sound the journal keeps that is not transcribed yet."""


class Kept(msgspec.Struct, frozen=True):
    """Sound of one channel: samples [first, end) at 16 kHz."""

    call: str
    channel: int
    first: Position
    end: Position
    open: bool


class KeptList(Event, frozen=True, tag="journal.kept"):
    """The answer: every call and channel with sound in the journal."""

    kept: tuple[Kept, ...] = ()


class Transcribed(Event, frozen=True, tag="stt.transcribed"):
    """The words of all samples before `position` (16 kHz) are final and on disk.

    `last`: the call is over, and nothing of this channel is wanted any more.
    """

    position: Position
    channel: int = 0
    last: bool = False
