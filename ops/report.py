"""In come the records of one call; out go tables, transcript, summary and verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from itertools import groupby
from statistics import median
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bus.recording import Record
from ops.call_tables import CancelRow, TurnRow, cancel_table, stale_frames, turn_table
from ops.facts import (
    CALLER_RATE,
    SampleClock,
    first_sound_ns,
    last_sound_ns,
    said_ns,
    told,
    turn_numbers,
)
from schemas import AgentPcm, CancelStuck, TurnCancelled, TurnEnded, TurnStarted

__all__ = [
    "Asked",
    "CancelRow",
    "TurnRow",
    "cancel_table",
    "print_tables",
    "stale_frames",
    "summary",
    "transcript_lines",
    "turn_table",
    "verdict",
]

RECOGNISED = 0.75
"""Share of the words asked that must come back, in order, for a question to count as understood."""


class Asked(NamedTuple):
    """What a scripted caller asked, and words its answer must hold ("" for any answer)."""

    text: str
    answer: str = ""


def transcript_lines(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Who said what, when (seconds since the caller's sample 0); of the agent, what was heard."""
    zero_ns, numbers = SampleClock(records).zero_ns or 0, turn_numbers(records)
    lines = []
    for _, said in told(records, TurnStarted):
        seconds = said.start / CALLER_RATE, said.end / CALLER_RATE
        lines.append(_line("caller", numbers.get(said.turn, 0), said.text, *seconds))
    for _, ended in told(records, TurnEnded):
        first, last = first_sound_ns(records, ended.turn), last_sound_ns(records, ended.turn)
        if ended.heard and first is not None:
            seconds = (first - zero_ns) / 1e9, ((last or first) - zero_ns) / 1e9
            cut = ended.outcome == "interrupted"
            lines.append(_line("agent", numbers[ended.turn], ended.heard, *seconds, cut))
    return sorted(lines, key=lambda line: (line["start_s"], line["turn"]))


def _line(
    speaker: str, turn: int, text: str, start_s: float, end_s: float, interrupted: bool = False
) -> dict[str, Any]:
    return {
        "speaker": speaker,
        "turn": turn,
        "text": text,
        "start_s": round(start_s, 3),
        "end_s": round(end_s, 3),
        "interrupted": interrupted,
    }


def summary(records: Sequence[Record]) -> dict[str, Any]:
    """Everything as one JSON object; each key says its unit."""
    turns = turn_table(records)
    rounds = [fact for _, fact in told(records, TurnCancelled)]
    span_ns = said_ns(records[-1]) - said_ns(records[0]) if records else 0
    return {
        "call": next((r.event.call for r in records if r.event and r.event.call), ""),
        "recorded_s": round(span_ns / 1e9, 3),
        "median_answer_ms": _median(row.answer_ms for row in turns),
        "median_duck_ms": _median(row.duck_ms for row in turns),
        "median_stop_ms": _median(row.stop_ms for row in turns),
        "median_all_fenced_ms": _median(fact.all_fenced_ms for fact in rounds),
        "stale_frames_count": stale_frames(records),
        "agent_frames_count": len(told(records, AgentPcm)),
        "turns": [{**row._asdict(), "words_heard_count": row.words_heard} for row in turns],
        "cancels": [row._asdict() for row in cancel_table(records)],
        "transcript": transcript_lines(records),
    }


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 3) if known else None


def verdict(records: Sequence[Record], asked: Sequence[Asked]) -> list[str]:
    """Why the call is not good; empty when it is.

    Good: each question was understood and answered, a barge-in was committed, every actor of every
    round released what it held, and no stale frame left.
    """
    turns, rows = turn_table(records), cancel_table(records)
    reasons = [reason for question in asked for reason in _unanswered(question, turns)]
    if not rows or not any(row.outcome == "interrupted" for row in turns):
        reasons.append("no barge-in was committed")
    reasons += [
        f"turn {row.turn}: {row.actor} is {row.verdict} in the CANCEL round ({row.stopped or '-'})"
        for row in rows
        if row.verdict != "released"
    ]
    reasons += [
        f"{stuck.actor} did not say {stuck.phase} within {stuck.waited_ms:.0f} ms"
        for _, stuck in told(records, CancelStuck)
    ]
    stale = stale_frames(records)
    return reasons + ([f"{stale} stale frames left after the fence"] if stale else [])


def _unanswered(asked: Asked, turns: Sequence[TurnRow]) -> list[str]:
    understood = [row for row in turns if _likeness(asked.text, row.asked) >= RECOGNISED]
    if not understood:
        return [f"not understood: {asked.text!r}"]
    if not any(row.heard and plain(asked.answer) in plain(row.heard) for row in understood):
        heard = understood[-1].heard
        return [f"not answered: {asked.text!r} (wanted {asked.answer!r}, heard {heard!r})"]
    return []


def _likeness(asked: str, understood: str) -> float:
    """The share of the words asked found in what was understood, in order."""
    wanted, got = plain(asked).split(), plain(understood).split()
    same = SequenceMatcher(None, wanted, got, autojunk=False).get_matching_blocks()
    return sum(block.size for block in same) / max(len(wanted), 1)


def plain(text: str) -> str:
    """Lower case words with single blanks around each: no punctuation."""
    letters = "".join(c if c.isalnum() or c == "'" else " " for c in text.lower())
    words = " ".join(letters.split())
    return f" {words} " if words else " "


def print_tables(console: Console, records: Sequence[Record], budget_ms: float = 0) -> None:
    """Who said what, how long the agent took, what each CANCEL stopped; it may take `budget_ms`."""
    turns, cancels = turn_table(records), cancel_table(records)
    console.print(_words(turns))
    console.print(_delays(turns))
    for _, round_ in groupby(cancels, key=lambda row: (row.turn, row.reason)):
        console.print(_cancels(list(round_), budget_ms))
    console.print(f"stale frames after a fence: {stale_frames(records)}")


def _words(rows: Sequence[TurnRow]) -> Table:
    table = _table(
        "Turns", ("turn", "caller said", "agent was heard to say", "outcome"), ("words heard",)
    )
    for row in rows:
        heard = f"{row.words_heard} of {row.words_answered}"
        table.add_row(str(row.turn), row.asked, row.heard or "-", row.outcome, heard)
    return table


def _delays(rows: Sequence[TurnRow]) -> Table:
    parts = (
        "sure",
        "asked",
        "token",
        "sentence",
        "speech",
        "frame",
        "answer",
    )
    table = _table(
        "Delays in ms: answer = asked + token + … + frame, since the caller's last voiced\n"
        "sample; sure: when the turn was; duck, stop: since the onset of the interruption",
        ("turn",),
        (*parts, "duck", "stop"),
    )
    for row in rows:
        times = (row.endpoint_ms, *row[3:8], row.answer_ms, row.duck_ms, row.stop_ms)
        table.add_row(str(row.turn), *(_cell(value, 0) for value in times))
    return table


def _cancels(rows: Sequence[CancelRow], budget_ms: float) -> Table:
    """One round: who fenced and released when, and what that stopped."""
    first = rows[0]
    fenced = (
        "not all fenced"
        if first.all_fenced_ms is None
        else f"all fenced {first.all_fenced_ms:.1f} ms"
    )
    fenced += f", budget {budget_ms:.0f} ms" if budget_ms else ""
    table = _table(
        f"CANCEL of {f'turn {first.turn}' if first.turn else 'a draft'} ({first.reason}): {fenced}",
        ("actor", "verdict"),
        ("fenced ms", "released ms"),
    )
    table.add_column("what stopped")
    for row in rows:
        times = (_cell(value, 2) for value in (row.fenced_ms, row.released_ms))
        table.add_row(row.actor, row.verdict, *times, row.stopped or "-")
    return table


def _table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for heading in words:
        table.add_column(heading)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
