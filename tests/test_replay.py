"""Recorded calls replay byte for byte; other rules, settings or recordings show as differences."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from actors.evidence import RULES
from bus.recording import NotATrace, Record, Trace, Writer, decode, read_trace
from bus.settings import Settings, load
from bus.wire import lane_of, pack
from bus.wiretap import Heard
from ops import in_force, replay, replay_actor
from ops.cli import app
from ops.replay_loop import on_replay_loop
from ops.replay_plan import NotReplayable, Plan, calls, plan
from ops.replaying import Replaying
from schemas import (
    Acked,
    AgentPcm,
    CallClosed,
    CallOpened,
    Cancel,
    CancelStuck,
    Ducked,
    Event,
    Flag,
    Partial,
    Respond,
    Restore,
    Speech,
    SpeechStarted,
    Stamp,
    Steps,
    TurnCancelled,
    TurnStarted,
)

DATA = Path(__file__).parent / "data"
HALF, FULL = DATA / "half_duplex.msgpack", DATA / "full_duplex.msgpack"
IDLE = DATA / "idle_call.msgpack"
CONFIG = Path(__file__).parent.parent / "config" / "fleet.toml"
MS = 1_000_000
runner = CliRunner()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home with the default settings, which a test may change."""
    monkeypatch.setenv("BARGEIN_HOME", str(tmp_path))
    monkeypatch.delenv("ENABLE_BARGE_IN", raising=False)
    (tmp_path / "config").mkdir()
    shutil.copy(CONFIG, tmp_path / "config")
    return tmp_path


def setting(home: Path, was: str, now: str) -> None:
    path = home / "config" / "fleet.toml"
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, now))


def save(path: Path, trace: Trace, records: list[Record] | None = None) -> Path:
    with path.open("wb") as file:
        writer = Writer(file, **trace.header)
        for record in trace.records if records is None else records:
            writer.write(Heard(record.at_ns, record.lane, record.frames))
    return path


def of_kind(records: list[Record], kind: type[Event]) -> list[Record]:
    return [record for record in records if isinstance(record.event, kind)]


def changed(trace: Trace, kind: type[Event], **fields: object) -> list[Record]:
    """The trace with one field of the first event of a kind changed."""
    records = list(trace.records)
    index = next(i for i, record in enumerate(records) if isinstance(record.event, kind))
    record = records[index]
    assert record.event is not None
    assert record.stamp is not None
    event = msgspec.structs.replace(record.event, **fields)
    records[index] = record._replace(event=event, frames=pack(event, record.stamp))
    return records


# -- the same ----------------------------------------------------------------------------------


def test_the_recordings_are_what_they_are_said_to_be() -> None:
    half, full = read_trace(HALF), read_trace(FULL)
    assert half.header["settings"]["fleet"]["enable_barge_in"] is False
    assert full.header["settings"]["fleet"]["enable_barge_in"] is True
    assert len(of_kind(half.records, TurnStarted)) == 2
    assert not of_kind(half.records, Cancel)
    assert any(r.event.text == "stop please" for r in half.records if isinstance(r.event, Partial))
    assert len(of_kind(full.records, Cancel)) == 1
    assert len(of_kind(full.records, Acked)) > len(full.header["settings"]["fleet"]["roster"])
    for path in (HALF, FULL):
        assert path.stat().st_size < 300_000


@pytest.mark.parametrize("path", [HALF, FULL, IDLE])
def test_a_recorded_call_replays_byte_for_byte(path: Path) -> None:
    outcome = Replaying(path, load()).run()
    [comparison] = outcome.comparisons
    assert (outcome.identical, outcome.notes) == (True, ())
    assert comparison.identical == comparison.compared
    assert comparison.compared == len(plan(read_trace(path).records, comparison.call).said) > 15


@pytest.mark.parametrize("path", [HALF, FULL])
def test_replaying_twice_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    written = []
    for number in range(2):
        replaying = Replaying(path, load())
        replaying.run()
        replaying.write(tmp_path / str(number))
        written.append((tmp_path / str(number)).read_bytes())
    assert written[0] == written[1]
    again = Replaying(tmp_path / "0", load()).run()
    assert again.identical


def test_several_calls_in_one_trace_replay_each(tmp_path: Path) -> None:
    half, full = read_trace(HALF), read_trace(FULL)
    both = save(tmp_path / "both", full, [*full.records, *half.records])
    found = Replaying(both, load(), current=True).run()
    assert [one.call for one in found.comparisons] == calls([*full.records, *half.records])
    only = Replaying(both, load(), call=found.comparisons[0].call).run()
    assert only.identical
    assert len(only.comparisons) == 1


# -- not the same ------------------------------------------------------------------------------


def test_other_settings_show_in_time_and_in_decision(home: Path) -> None:
    setting(home, "endpoint_complete_ms = 320", "endpoint_complete_ms = 270")
    result = runner.invoke(app, ["replay", str(FULL), "--current-settings", "--json"])
    assert result.exit_code == 1
    [comparison] = json.loads(result.stdout)["comparisons"]
    early = {(d["kind"], d["field"]) for d in comparison["differences"]}
    assert early == {("turn.started", "stamp.at_ns")}  # asked as before: the answers were drafts
    for difference in comparison["differences"]:
        recorded, replayed = (float(difference[k].split()[0]) for k in ("recorded", "replayed"))
        assert 0.03 < recorded - replayed < 0.06  # s


def test_todays_settings_being_the_recorded_ones_nothing_differs() -> None:
    assert runner.invoke(app, ["replay", str(FULL), "--current-settings"]).exit_code == 0


def test_barge_in_on_a_half_duplex_call_would_have_cancelled() -> None:
    outcome = Replaying(HALF, load(), current=True).run()
    differences = outcome.comparisons[0].differences
    cancel = next(d for d in differences if d.kind == "CANCEL")
    assert (cancel.only, cancel.turn) == ("replayed", 1)
    assert "barge-in: " in cancel.replayed
    table = next(d for d in differences if d.kind == "turn.cancelled")
    assert (table.only, table.turn) == ("replayed", 1)


def test_a_changed_rule_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.evidence.RULES", RULES[-1:])
    outcome = Replaying(FULL, load()).run()
    assert not outcome.identical
    assert any(d.kind == "CANCEL" for d in outcome.comparisons[0].differences)


@pytest.mark.parametrize(
    ("kind", "fields", "field"),
    [
        (TurnStarted, {"text": "tell me another"}, "text"),
        (Cancel, {"reason": "because"}, "reason"),
        (TurnCancelled, {"took_ms": 0.5}, "took_ms"),
        (Steps, {"steps": ()}, ""),
    ],
)
def test_another_recording_shows_field_by_field(
    tmp_path: Path, kind: type[Event], fields: dict[str, object], field: str
) -> None:
    trace = read_trace(FULL)
    path = save(tmp_path / "trace", trace, changed(trace, kind, **fields))
    result = runner.invoke(app, ["replay", str(path)])
    if not field:
        assert result.exit_code in (1, 65)
        return
    assert result.exit_code == 1
    assert f"{field}: {fields[field]} →" in result.stdout
    assert "events are the same" in result.stdout


def test_a_different_stamp_alone_shows(tmp_path: Path) -> None:
    trace = read_trace(FULL)
    records = list(trace.records)
    index = next(i for i, r in enumerate(records) if isinstance(r.event, Respond))
    record = records[index]
    assert record.event is not None
    assert record.stamp is not None
    later = msgspec.structs.replace(record.stamp, seq=record.stamp.seq + 7)
    records[index] = record._replace(frames=pack(record.event, later))
    outcome = Replaying(save(tmp_path / "trace", trace, records), load()).run()
    [difference] = outcome.comparisons[0].differences
    assert (difference.kind, difference.field) == ("turn.respond", "stamp.seq")
    assert (difference.recorded, difference.replayed) == ("7", "0")


def test_what_is_missing_and_what_is_new_shows(tmp_path: Path) -> None:
    trace = read_trace(FULL)
    gone = [r for r in trace.records if not isinstance(r.event, TurnCancelled)]
    outcome = Replaying(save(tmp_path / "gone", trace, gone), load()).run()
    [difference] = outcome.comparisons[0].differences
    assert (difference.kind, difference.only) == ("turn.cancelled", "replayed")
    opened = of_kind(trace.records, CallOpened)[0]
    assert opened.stamp is not None
    restore = Restore(call=calls(trace.records)[0], turn=1, reason="made up")
    made_up = opened._replace(event=restore, frames=pack(restore, opened.stamp))
    outcome = Replaying(save(tmp_path / "more", trace, [*trace.records, made_up]), load()).run()
    [difference] = outcome.comparisons[0].differences
    assert (difference.kind, difference.only) == ("turn.restore", "recorded")


# -- rounds that went wrong --------------------------------------------------------------------


def silenced(actor: str, absent: bool) -> tuple[Settings, Plan, Trace]:
    """The interrupted call, had `actor` not acknowledged."""
    trace = read_trace(FULL)
    settings = in_force.rebuilt(trace.header["settings"], load())
    mine = plan(trace.records, calls(trace.records)[0])
    for past in (past for rounds in mine.rounds.values() for past in rounds):
        past.acks = [ack for ack in past.acks if ack.actor != actor]
        past.absent = frozenset({actor}) if absent else frozenset()
    return settings, mine, trace


@pytest.mark.parametrize(
    ("absent", "verdict", "waited_ms"), [(True, "absent", 20), (False, "stuck", 250)]
)
def test_an_actor_that_was_missing_is_missing_again(
    tmp_path: Path, absent: bool, verdict: str, waited_ms: float
) -> None:
    settings, mine, trace = silenced("stt", absent)
    said = on_replay_loop(replay.ManagerReplay(mine, settings, exact=False).run())
    [table] = [r.event for r in said if isinstance(r.event, TurnCancelled)]
    assert {row.actor: row.verdict for row in table.rows}["stt"] == verdict
    assert len(of_kind(said, CancelStuck)) == (not absent)
    assert table.took_ms == waited_ms
    outcome = Replaying(save(tmp_path / "trace", trace, said), load()).run()
    assert outcome.identical
    assert outcome.comparisons[0].compared > 15


# -- bad traces --------------------------------------------------------------------------------


def test_a_trace_cut_short_anywhere_replays_up_to_there(tmp_path: Path) -> None:
    whole = FULL.read_bytes()
    path = tmp_path / "cut"
    compared, unread = [], 0
    for share in range(30, 100, 3):
        path.write_bytes(whole[: len(whole) * share // 100])
        replaying = Replaying(path, load())
        outcome = replaying.run()
        assert outcome.identical, (share, outcome.comparisons[0].differences)
        assert "cut short or damaged" in outcome.notes[0]
        compared.append(outcome.comparisons[0].compared)
        unread += "the trace ends before the steps" in outcome.notes[-1]
    assert unread
    assert compared == sorted(compared)
    assert compared[0] < 10 < 25 < compared[-1]


def test_damage_in_the_middle_is_told(tmp_path: Path) -> None:
    whole = bytearray(FULL.read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 400] = b"\xc1" * 400
    path = tmp_path / "damaged"
    path.write_bytes(whole)
    result = runner.invoke(app, ["replay", str(path)])
    assert result.exit_code == 0
    assert "cut short or damaged after" in result.stdout


def not_a_trace(path: Path) -> None:
    path.write_bytes(b"RIFF....WAVEfmt ")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def folder(path: Path) -> None:
    path.mkdir()


def nothing(path: Path) -> None:
    """No file at all."""


@pytest.mark.parametrize("make", [not_a_trace, empty, folder, nothing])
def test_what_is_no_trace_is_refused_in_one_line(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "x"
    make(path)
    result = runner.invoke(app, ["replay", str(path)])
    assert result.exit_code == NotATrace.exit_code
    assert result.stderr.startswith(f"bargein: {path}: ")
    assert result.stderr.count("\n") == 1


def test_a_trace_from_the_middle_of_a_call_says_what_to_do(tmp_path: Path) -> None:
    trace = read_trace(FULL)
    late = [r for r in trace.records if not isinstance(r.event, CallOpened)]
    with pytest.raises(NotReplayable, match="begin to record before the call"):
        Replaying(save(tmp_path / "late", trace, late), load()).run()


def test_a_lost_input_is_named(tmp_path: Path) -> None:
    trace = read_trace(FULL)
    lost = of_kind(trace.records, Partial)[3]
    rest = [record for record in trace.records if record is not lost]
    with pytest.raises(NotReplayable, match=r"stt\.partial number 3 of stt is missing"):
        Replaying(save(tmp_path / "lost", trace, rest), load()).run()


def test_unknown_settings_need_the_current_ones(tmp_path: Path) -> None:
    trace = read_trace(FULL)
    header = {key: value for key, value in trace.header.items() if key != "settings"}
    path = save(tmp_path / "old", trace._replace(header=header))
    result = runner.invoke(app, ["replay", str(path)])
    assert (result.exit_code, "--current-settings" in result.stderr) == (65, True)
    assert runner.invoke(app, ["replay", str(path), "--current-settings"]).exit_code == 0
    bad = {**trace.header, "settings": {"turns": {"endpoint_ms": "soon"}}}
    path = save(tmp_path / "bad", trace._replace(header=bad))
    result = runner.invoke(app, ["replay", str(path)])
    assert (result.exit_code, "can't be used" in result.stderr) == (65, True)


def test_settings_in_force_are_turn_managers_own() -> None:
    settings = load()
    told: dict[str, Flag] = {
        "fleet.enable_barge_in": False,
        "fleet.roster": "llm tts",
        "turns.commit_ms": 321,
        "turns.system_prompt": "another… (sha256 00000000)",
    }
    made, unsure = in_force.overlaid(settings, told)
    rebuilt = in_force.rebuilt(made, settings)
    assert rebuilt.fleet.enable_barge_in is False
    assert rebuilt.turns.commit_ms == 321
    assert rebuilt.fleet.roster == ("llm", "tts")
    assert rebuilt.turns.endpoint_ms == settings.turns.endpoint_ms
    assert unsure == ["turns.system_prompt"]
    assert "api_key" not in made["llm"]


# -- any other actor ---------------------------------------------------------------------------


def test_tts_speaks_the_same_words_again_and_others_at_another_speed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(replay_actor.ENGINE_S, "tts", 0.3)
    outcome = Replaying(FULL, load(), actor="tts").run()
    assert outcome.identical
    assert outcome.comparisons[0].compared > 20
    assert "recorded without sound" in outcome.notes[0]
    setting(home, "words_per_minute = 175", "words_per_minute = 300")
    outcome = Replaying(FULL, load(), actor="tts", current=True).run()
    assert any("words" in d.field for d in outcome.comparisons[0].differences)


def spoken_call() -> list[Record]:
    """A call in which one second of sound is played and the caller speaks after 300 ms of it."""
    call, sound = "01SOUND", bytes(range(256)) * 125
    heard: list[tuple[int, str, Event]] = [
        (0, "turn_manager", CallOpened(call=call, line="line")),
        (99, "turn_manager", TurnStarted(call=call, turn=7, text="", start=0, end=0)),
        (100, "tts", Speech(call=call, turn=7, rate=16_000, pcm=sound)),
        (101, "tts", Speech(call=call, turn=7, rate=16_000, first=16_000, last=True)),
        (401, "audio_in", SpeechStarted(call=call, onset=4000)),
        (1500, "turn_manager", CallClosed(call=call, reason="over")),
    ]
    return [
        decode(Heard(ms * MS, lane_of(type(event)), pack(event, stamp)))
        for ms, source, event in heard
        for stamp in [Stamp(source=source, inc=1, seq=0, at_ns=ms * MS)]
    ]


def test_playback_plays_again_in_recorded_time(tmp_path: Path) -> None:
    trace = read_trace(FULL)
    first = Replaying(save(tmp_path / "in", trace, spoken_call()), load(), actor="playback")
    assert not first.run().identical
    played = of_kind(first.said, AgentPcm)
    at_ms = [record.at_ns // MS for record in played if record.at_ns > 0]
    assert at_ms == [max(100, 80 + 20 * number) for number in range(len(at_ms))]
    [ducked] = of_kind(first.said, Ducked)
    assert (ducked.at_ns, len(at_ms)) == (401 * MS, 51)  # the last one is empty
    second = Replaying(save(tmp_path / "both", trace, first.said), load(), actor="playback")
    outcome = second.run()
    assert (outcome.identical, outcome.comparisons[0].compared) == (True, 4)
    quieter = [r for r in first.said if not isinstance(r.event, SpeechStarted)]
    third = Replaying(save(tmp_path / "no", trace, quieter), load(), actor="playback").run()
    assert {d.field or d.only for d in third.comparisons[0].differences} == {"recorded", "sound"}


@pytest.mark.parametrize("actor", ["audio_in", "stt", "playback"])
def test_an_actor_of_sound_needs_sound(actor: str) -> None:
    result = runner.invoke(app, ["replay", str(FULL), "--actor", actor])
    assert result.exit_code == NotReplayable.exit_code
    assert "with sound" in result.stderr


def test_unknown_actors_and_calls_are_refused() -> None:
    result = runner.invoke(app, ["replay", str(FULL), "--actor", "tss"])
    assert (result.exit_code, "one of audio_in, stt" in result.stderr) == (2, True)
    result = runner.invoke(app, ["replay", str(FULL), "--call", "X"])
    assert (result.exit_code, "holds no message of call X" in result.stderr) == (65, True)


def test_a_result_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    result = runner.invoke(app, ["replay", str(HALF), "--out", str(tmp_path / "no" / "x")])
    assert (result.exit_code, "can't be written" in result.stderr) == (73, True)
