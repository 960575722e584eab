"""In come the records of one call; out go a row for each turn, and one for each actor's CANCEL."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from bus.recording import Record
from ops.facts import (
    SampleClock,
    fence_ns,
    first_ns,
    first_sound_ns,
    last_sound_ns,
    ms_between,
    told,
    turn_numbers,
)
from schemas import (
    AgentPcm,
    Ducked,
    LlmStarted,
    Respond,
    RoundRow,
    Sentence,
    Speech,
    SpeechEnded,
    SpeechStarted,
    TurnCancelled,
    TurnEnded,
    TurnStarted,
)


class CancelRow(NamedTuple):
    """What one actor did with one CANCEL; milliseconds since the broadcast."""

    turn: int
    reason: str
    actor: str
    verdict: str
    fenced_ms: float | None
    released_ms: float | None
    stopped: str
    all_fenced_ms: float | None


class TurnRow(NamedTuple):
    """One question and its answer.

    `answer_ms` runs from the caller's last voiced sample to the first frame of the agent's voice;
    the five fields after it are its parts, one after the other. `endpoint_ms` runs from the same
    sample until the turn was sure: the answer may have been asked for before, its sound was held.
    `duck_ms` and `stop_ms` run from the interrupting onset to the moment playback began to duck
    (its ramp comes on top), and to the last frame of the turn that left.
    """

    turn: int
    asked: str
    answer_ms: float | None
    asked_ms: float | None
    first_token_ms: float | None
    first_sentence_ms: float | None
    first_speech_ms: float | None
    first_frame_ms: float | None
    outcome: str
    heard: str
    answer: str
    duck_ms: float | None
    stop_ms: float | None
    endpoint_ms: float | None

    @property
    def words_heard(self) -> int:
        """How many words of the answer reached the caller before it ended or was cut."""
        return len(self.heard.split())

    @property
    def words_answered(self) -> int:
        """How many words the whole answer has."""
        return len(self.answer.split())


def cancel_table(records: Sequence[Record]) -> list[CancelRow]:
    """One row for each actor of each round."""
    numbers = turn_numbers(records)
    return [
        CancelRow(
            turn=numbers.get(cancelled.turn, 0),
            reason=cancelled.reason,
            actor=row.actor,
            verdict=row.verdict,
            fenced_ms=row.fenced_ms,
            released_ms=row.released_ms,
            stopped=stopped(row),
            all_fenced_ms=cancelled.all_fenced_ms,
        )
        for _, cancelled in told(records, TurnCancelled)
        for row in cancelled.rows
    ]


def stopped(row: RoundRow) -> str:
    """What a cancel stopped, in words; and the error, if there was one."""
    parts = [with_unit(name, value) for name, value in row.stopped.items()]
    return ", ".join(parts + ([f"error: {row.error}"] if row.error else []))


def with_unit(name: str, value: float | str) -> str:
    """`unplayed_ms`, 2025 → "unplayed 2025 ms"; `tokens_generated`, 3 → "3 tokens generated"."""
    number = f"{value:.1f}" if isinstance(value, float) else str(value)
    what, _, unit = name.rpartition("_")
    if unit in ("ms", "samples", "s", "bytes"):
        return f"{what.replace('_', ' ')} {number} {unit}"
    return f"{number} {name.replace('_', ' ')}"


def turn_table(records: Sequence[Record]) -> list[TurnRow]:
    """One row for each turn that was begun; begun again, its last beginning counts."""
    clock, numbers = SampleClock(records), turn_numbers(records)
    begun = {fact.turn: (ns, fact) for ns, fact in told(records, TurnStarted) if fact.turn}
    ended = {fact.turn: fact for _, fact in told(records, TurnEnded)}
    return [
        _turn_row(records, clock, numbers[turn], ns, fact, ended.get(turn))
        for turn, (ns, fact) in begun.items()
    ]


def _turn_row(
    records: Sequence[Record],
    clock: SampleClock,
    number: int,
    started_ns: int,
    started: TurnStarted,
    ended: TurnEnded | None,
) -> TurnRow:
    turn = started.turn
    path = [
        clock.ns(_speech_end(records, started_ns, started) - 1),
        first_ns(records, Respond, turn) or started_ns,
        first_ns(records, LlmStarted, turn),
        first_ns(records, Sentence, turn),
        first_ns(records, Speech, turn),
        first_sound_ns(records, turn),
    ]
    duck_ms, stop_ms = _interruption(records, clock, turn, started_ns)
    asked, token, sentence, speech, frame = (ms_between(*step) for step in pairwise(path))
    return TurnRow(
        turn=number,
        asked=started.text,
        answer_ms=ms_between(path[0], path[-1]),
        asked_ms=asked,
        first_token_ms=token,
        first_sentence_ms=sentence,
        first_speech_ms=speech,
        first_frame_ms=frame,
        outcome=ended.outcome if ended else "open",
        heard=ended.heard if ended else "",
        answer=ended.answer if ended else "",
        duck_ms=duck_ms,
        stop_ms=stop_ms,
        endpoint_ms=ms_between(path[0], started_ns),
    )


def _speech_end(records: Sequence[Record], started_ns: int, started: TurnStarted) -> int:
    """Where the caller fell silent: the VAD's word, or the transcript's if that came first."""
    ends = [e.end for ns, e in told(records, SpeechEnded) if ns <= started_ns]
    return ends[-1] if ends and ends[-1] > started.start else started.end


def _interruption(
    records: Sequence[Record], clock: SampleClock, turn: int, started_ns: int
) -> tuple[float | None, float | None]:
    """Onset to ducked and onset to the last frame (ms), for the last onset within the turn."""
    onsets = [(ns, onset) for ns, onset in told(records, SpeechStarted) if ns > started_ns]
    ducks = [ns for ns, duck in told(records, Ducked) if duck.turn == turn]
    cuts = [fact.sent_ns for _, fact in told(records, TurnCancelled) if fact.turn == turn]
    moment = max(ducks + cuts, default=None)
    if moment is None:
        return None, None
    onset = next((clock.ns(o.onset) for ns, o in reversed(onsets) if ns <= moment), None)
    duck = next((ns for ns in ducks if onset is not None and ns >= onset), None)
    last = last_sound_ns(records, turn) if cuts else None
    return ms_between(onset, duck), ms_between(onset, last)


def stale_frames(records: Sequence[Record]) -> int:
    """Frames of a cancelled turn that left after playback had said its fence was up. Must be 0.

    A playback that never said so gets the whole round's time, not more.
    """
    fences = [(fact.turn, fence_ns(fact)) for _, fact in told(records, TurnCancelled)]
    return sum(
        any(0 < frame.turn <= turn and ns > fenced for turn, fenced in fences)
        for ns, frame in told(records, AgentPcm)
        if frame.samples
    )
