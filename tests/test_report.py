"""In come calls recorded by hand; checked are the tables, the transcript and the verdict."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from bus.recording import Record
from ops.report import (
    Asked,
    cancel_table,
    print_tables,
    stale_frames,
    summary,
    transcript_lines,
    turn_table,
    verdict,
)
from schemas import AgentPcm, CancelStuck, PlaybackStarted, RoundRow, SpeechEnded, Stamp, TurnEnded
from tests.tape import BASE, CALL, CALM, ZERO_NS, Tape, calm_call, interrupted_call

ASKED = [Asked("tell me a very long story"), Asked("what is twelve times seven", "eighty four")]


def test_turn_table_measures_from_the_last_voiced_sample() -> None:
    story, total = turn_table(interrupted_call().finished())
    assert (story.turn, total.turn) == (1, 2)
    assert story.asked == "tell me a very long story"
    assert story.answer_ms == 400.0  # the frame with the last voiced sample left at 2000 ms
    parts = story[3:8]
    assert parts == (301.0, 30.0, 40.0, 20.0, 9.0)
    assert sum(part for part in parts if isinstance(part, float)) == story.answer_ms
    assert (story.outcome, total.outcome) == ("interrupted", "completed")
    assert (story.words_heard, story.words_answered) == (8, 16)
    assert total.heard == total.answer == "Twelve times seven is eighty-four."


def test_turn_table_measures_the_interruption_from_its_onset() -> None:
    story, total = turn_table(interrupted_call().finished())
    assert story.duck_ms == 64.0  # the frame with the onset left at 5020 ms, ducked at 5084
    assert story.stop_ms == 260.0  # last frame at 5280 ms
    assert (total.duck_ms, total.stop_ms) == (None, None)


def test_a_cancel_nobody_spoke_for_has_no_onset_to_measure_from() -> None:
    tape = Tape()
    tape.caller(5_000)
    tape.answer(BASE + 1, "what time is it", (500, 1_500), 1_800)
    tape.agent(BASE + 1, 1_900, 3_000)
    tape.cancel(3_000, BASE + 1)
    (row,) = turn_table(tape.finished())
    assert (row.duck_ms, row.stop_ms) == (None, None)


def test_a_late_voice_activity_end_leaves_the_transcript_to_measure_from() -> None:
    records = [r for r in calm_call() if not isinstance(r.event, SpeechEnded)]
    (row,) = turn_table(records)
    assert row.answer_ms == 400.0


def test_an_unfinished_turn_is_open_and_has_gaps() -> None:
    records = [
        r for r in calm_call() if not isinstance(r.event, AgentPcm | PlaybackStarted | TurnEnded)
    ]
    (row,) = turn_table(records)
    assert (row.outcome, row.heard, row.answer_ms, row.first_frame_ms) == ("open", "", None, None)
    assert row.first_token_ms == 30.0


def test_cancel_table_has_a_row_for_each_actor() -> None:
    rows = cancel_table(interrupted_call().finished())
    assert [row.actor for row in rows] == ["audio_in", "stt", "llm", "tts", "playback"]
    assert {(row.turn, row.reason, row.all_fenced_ms) for row in rows} == {(1, "barge-in", 0.8)}
    llm, tts, playback = rows[2:]
    assert (llm.fenced_ms, llm.released_ms, llm.stopped) == (0.6, 14.2, "17 tokens")
    assert tts.stopped == "busy 2.2 ms"
    assert playback.stopped == "12345 samples unplayed"


def test_missing_acknowledgements_show_in_table_and_verdict() -> None:
    rows = (
        *CALM[:2],
        RoundRow(actor="llm", verdict="absent"),
        RoundRow(actor="tts", verdict="stuck", fenced_ms=0.7, error="no release in 250 ms"),
        CALM[4],
    )
    tape = interrupted_call(rows)
    tape.say(
        5_550,
        "turn_manager",
        CancelStuck(call=CALL, turn=BASE + 7, actor="tts", phase="released", waited_ms=250.0),
    )
    records = tape.finished()
    llm, tts = cancel_table(records)[2:4]
    assert (llm.verdict, llm.fenced_ms, llm.stopped) == ("absent", None, "")
    assert tts.stopped == "error: no release in 250 ms"
    assert verdict(records, ASKED) == [
        "turn 1: llm is absent in the CANCEL round (-)",
        "turn 1: tts is stuck in the CANCEL round (error: no release in 250 ms)",
        "tts did not say released within 250 ms",
    ]


def test_frames_up_to_the_fence_are_not_stale() -> None:
    tape = interrupted_call()
    tape.agent(BASE + 7, 5_300, 5_301)  # fenced 0.8 ms later
    assert stale_frames(tape.finished()) == 0


def test_frames_behind_the_fence_are_stale() -> None:
    tape = interrupted_call()
    tape.agent(BASE + 7, 5_301, 5_360)
    tape.agent(BASE + 3, 6_000, 6_001)  # an older turn is fenced as well
    records = tape.finished()
    assert stale_frames(records) == 4
    assert verdict(records, ASKED) == ["4 stale frames left after the fence"]


def test_a_frame_recorded_late_but_sent_in_time_is_not_stale() -> None:
    tape = interrupted_call()
    stamp = Stamp(source="playback", inc=1, seq=1, at_ns=ZERO_NS + 5_300_500_000)
    frame = AgentPcm(call=CALL, turn=BASE + 7, pcm=bytes(640))
    tape.records.append(Record(ZERO_NS + 5_400_000_000, "media", stamp, frame, []))
    assert stale_frames(tape.finished()) == 0


def test_a_playback_that_never_fenced_gets_the_round_and_no_more() -> None:
    rows = (*CALM[:4], RoundRow(actor="playback", verdict="absent"))
    tape = interrupted_call(rows)
    tape.agent(BASE + 7, 5_310, 5_311)
    assert stale_frames(tape.finished()) == 0
    tape.agent(BASE + 7, 5_316, 5_317)
    assert stale_frames(tape.finished()) == 1


def test_transcript_holds_what_was_heard() -> None:
    lines = transcript_lines(interrupted_call().finished())
    assert [(line["speaker"], line["turn"]) for line in lines] == [
        ("caller", 1),
        ("agent", 1),
        ("caller", 2),
        ("agent", 2),
    ]
    assert lines[0] == {
        "speaker": "caller",
        "turn": 1,
        "text": "tell me a very long story",
        "start_s": 0.5,
        "end_s": 2.0,
        "interrupted": False,
    }
    assert lines[1]["text"] == "once upon a time there was a small"
    assert lines[1]["interrupted"] is True
    assert lines[1]["start_s"] == pytest.approx(2.38, abs=0.03)
    assert json.loads(json.dumps(lines)) == lines


def test_an_answer_nobody_heard_is_not_in_the_transcript() -> None:
    records = [r for r in calm_call() if not isinstance(r.event, TurnEnded)]
    assert [line["speaker"] for line in transcript_lines(records)] == ["caller"]


def test_a_good_call_has_an_empty_verdict() -> None:
    assert verdict(interrupted_call().finished(), ASKED) == []


def test_verdict_names_what_was_misunderstood_and_what_was_not_answered() -> None:
    records = interrupted_call().finished()
    wrong = [Asked("spell the word ocean"), Asked("what is twelve times seven", "ninety")]
    assert verdict(records, wrong) == [
        "not understood: 'spell the word ocean'",
        "not answered: 'what is twelve times seven' (wanted 'ninety', "
        "heard 'Twelve times seven is eighty-four.')",
    ]


def test_a_call_without_a_cancel() -> None:
    records = calm_call()
    assert cancel_table(records) == []
    assert stale_frames(records) == 0
    assert verdict(records, [Asked("what time is it", "noon")]) == ["no barge-in was committed"]
    assert summary(records)["median_answer_ms"] == 400.0


def test_an_empty_call() -> None:
    assert (turn_table([]), cancel_table([]), transcript_lines([]), stale_frames([])) == (
        [],
        [],
        [],
        0,
    )
    assert summary([])["recorded_s"] == 0
    assert verdict([], ASKED[:1]) == [
        "not understood: 'tell me a very long story'",
        "no barge-in was committed",
    ]


def test_summary_is_json_and_says_its_units() -> None:
    told = json.loads(json.dumps(summary(interrupted_call().finished())))
    assert told["call"] == CALL
    assert told["median_stop_ms"] == 260.0
    assert told["median_all_fenced_ms"] == 0.8
    assert told["stale_frames_count"] == 0
    assert told["turns"][0]["words_heard_count"] == 8
    numbers = [key for key, value in told.items() if isinstance(value, int | float)]
    assert all(key.endswith(("_ms", "_s", "_count")) for key in numbers)


def test_records_that_carry_no_event_or_no_stamp_do_no_harm() -> None:
    records = interrupted_call().finished()
    records.insert(0, Record(ZERO_NS, "control", None, None, [b"?"]))
    bare = [record._replace(stamp=None) for record in records]
    assert turn_table(bare)[0].answer_ms == 400.0


def test_tables_print_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=140)
    print_tables(console, interrupted_call().finished())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for expected in ("12345 samples", "8 of 16", "interrupted", "answer", "14.20"):
        assert expected in shown
