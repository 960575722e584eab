"""Shipped questions are put to the real fleet; out come the delay of each answer and its parts.

From the caller's last voiced sample to the agent's first frame, on the embedded engines with the
default settings, in real time. The parts overlap where the answer is begun before the turn is sure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from bus.endpoints import Endpoints
from bus.recording import Record, read
from ops import wav
from ops.call_tables import TurnRow, turn_table
from ops.cues import Cue
from ops.facts import is_draft, told
from ops.placing import Caller, Clip, Plan, place
from schemas import TurnCancelled
from soak import caller_set
from soak.bench_home import fleet, scratch, with_responder
from soak.bench_kit import Result, Row, Tell, percentile

NAME = "voice to voice"
BAR_REST_MS = 150.0
"""All that is not the endpoint wait, p50."""
ASKED_AT_ONCE = 4
"""Questions of a call, one after the other's answer."""
LONGEST_WAIT_S = 10.0


def run(tell: Tell, tiny: bool) -> Result:
    """Each of the questions once; `tiny`: one of them."""
    clips = caller_set.find("question")[: 1 if tiny else None]
    calls = [clips[at : at + ASKED_AT_ONCE] for at in range(0, len(clips), ASKED_AT_ONCE)]
    measured: list[dict[str, Any]] = []
    drafts = 0
    with scratch(with_responder({})) as settings, fleet(settings):
        where = Endpoints(settings.run_dir)
        for number, some in enumerate(calls):
            tell(f"call {number + 1} of {len(calls)}")
            said = [Clip(wav.read(clip.path), _cue(at), clip.text) for at, clip in enumerate(some)]
            talker = partial(Caller, clips=said, longest_wait_s=LONGEST_WAIT_S)
            placed = asyncio.run(place(Plan(where, settings.calls_dir), talker))
            _, records = read(placed.folder / "trace.msgpack")
            measured += figures(records)
            drafts += sum(is_draft(fact) for _, fact in told(records, TurnCancelled))
    return Result(
        bench=NAME, rows=tuple(rows(measured, len(clips), drafts)), detail={"turns": measured}
    )


def _cue(number: int) -> Cue:
    return Cue("silent", 1.0) if number else Cue("clock", 0.5)


def figures(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One entry for each turn that was heard; ms, None where something never came.

    `endpoint`: last voiced sample to sure; `rest`: from there to the first frame. `known`: last voiced
    sample to the moment the words were settled and the model asked. `token`, `sentence`, `speech`:
    each since the one before. `held`: from the first sound made to the first frame played.
    """
    return [
        {
            "asked": row.asked,
            "total": row.answer_ms,
            "endpoint": row.endpoint_ms,
            "rest": _rest(row),
            "known": row.asked_ms,
            "token": row.first_token_ms,
            "sentence": row.first_sentence_ms,
            "speech": row.first_speech_ms,
            "held": row.first_frame_ms,
        }
        for row in turn_table(records)
    ]


def _rest(row: TurnRow) -> float | None:
    if row.answer_ms is None or row.endpoint_ms is None:
        return None
    return round(row.answer_ms - row.endpoint_ms, 1)


def rows(measured: Sequence[dict[str, Any]], asked: int, drafts: int) -> list[Row]:
    """p50 and p95 of each part; the one bar is on what is not the endpoint wait."""
    row = partial(Row, bench=NAME)

    def column(name: str) -> list[float]:
        return [turn[name] for turn in measured if turn[name] is not None]

    found = [
        row(
            name="not the endpoint wait p50",
            value=percentile(column("rest"), 50),
            unit="ms",
            bar=BAR_REST_MS,
        ),
        row(name="not the endpoint wait p95", value=percentile(column("rest"), 95), unit="ms"),
    ]
    for name, what in PARTS.items():
        for share in (50, 95):
            value = percentile(column(name), share)
            found.append(row(name=f"{what} p{share}", value=value, unit="ms"))
    heard = sum(turn["total"] is not None for turn in measured)
    found += [
        row(name="questions", value=asked, unit="count"),
        row(name="turns heard", value=heard, unit="count"),
        row(name="drafts cancelled", value=drafts, unit="count"),
    ]
    return found


PARTS = {
    "total": "voice to voice",
    "endpoint": "endpoint wait",
    "known": "model asked after",
    "token": "model's first token",
    "sentence": "first sentence after it",
    "speech": "first sound after it",
    "held": "playback, held until sure",
}
