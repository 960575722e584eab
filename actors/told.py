"""What stt tells the fleet: a recogniser's hypothesis goes in, an event comes out. Pure."""

from __future__ import annotations

from actors.segments import Segment
from engines.protocols import Hypothesis
from schemas import Final, Partial, SecondLook, Word


def partial(call: str, channel: int, guess: Hypothesis, stt_session: str) -> Partial:
    return Partial(
        call=call,
        channel=channel,
        utterance=guess.utterance,
        text=guess.text,
        start=guess.start,
        end=guess.end,
        stt_session=stt_session,
        settled=guess.settled,
    )


def second(call: str, channel: int, guess: Hypothesis, stt_session: str) -> SecondLook:
    return SecondLook(
        call=call,
        channel=channel,
        utterance=guess.utterance,
        text=guess.text,
        start=guess.start,
        end=guess.end,
        stt_session=stt_session,
        command_nats=guess.second or 0.0,
    )


def final(
    call: str, channel: int, guess: Hypothesis, stt_session: str, more: bool, second: bool
) -> Final:
    return Final(
        call=call,
        channel=channel,
        utterance=guess.utterance,
        text=guess.text,
        start=guess.start,
        end=guess.end,
        words=tuple(Word(word.text, word.start, word.end) for word in guess.words),
        stt_session=stt_session,
        more=more,
        second=second,
    )


def of_batch(call: str, segment: Segment) -> Final:
    return Final(
        call=call,
        channel=segment.channel,
        utterance=segment.utterance or 0,
        text=segment.text,
        start=segment.start,
        end=segment.end,
        words=segment.words,
        stt_session=segment.stt_session or "",
        more=segment.more,
    )
