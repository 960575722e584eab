"""tap shows what is asked for, counts the rest, and ends cleanly; record keeps what it has written."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from rich.console import Console
from typer.testing import CliRunner

from bus.broker import Broker
from bus.endpoints import Endpoints
from bus.errors import NoAnswer
from bus.recording import Recorder, RecordingFailed, decode, read_trace
from bus.sockets import make
from bus.wire import lane_of, pack
from bus.wiretap import Heard
from ops.cli import app
from ops.live import Live
from ops.tap import BadFilter, Choice, JsonLines, Lines, Tap, listen
from schemas import (
    Acked,
    AgentPcm,
    BusGap,
    Cancel,
    Event,
    Final,
    Heartbeat,
    LinePcm,
    RoundRow,
    SpeechStarted,
    Stamp,
    TurnCancelled,
)

MS = 1_000_000
CALL = "01CALL"
FULL = Path(__file__).parent / "data" / "full_duplex.msgpack"
runner = CliRunner()
Context = zmq.Context[zmq.Socket[bytes]]
HEARTBEAT = Heartbeat(
    actor="stt",
    inc=1,
    pid=2,
    state="ready",
    detail="",
    uptime_ms=1.0,
    rss_bytes=1,
    lag_ms=0.0,
    received=0,
    sent=0,
    stale=0,
    malformed=0,
    missed=0,
    calls=0,
)
ROUND = TurnCancelled(
    call=CALL,
    turn=7,
    reason="barge-in: wait",
    sent_ns=0,
    rows=(
        RoundRow(
            actor="tts", verdict="released", fenced_ms=0.4, released_ms=2.5, stopped={"ms": 3}
        ),
        RoundRow(actor="llm", verdict="stuck"),
    ),
    took_ms=250.0,
)


def heard(event: Event, source: str = "stt", seq: int = 0, at_ms: float = 0) -> Heard:
    """`event`, said at `at_ms` and heard 1.5 ms later."""
    stamp = Stamp(source=source, inc=1, seq=seq, at_ns=int(at_ms * MS))
    return Heard(int((at_ms + 1.5) * MS), lane_of(type(event)), pack(event, stamp))


def shown(*messages: Heard, choice: Choice | None = None) -> tuple[str, Tap]:
    """What people see of it, and the tap."""
    console = Console(file=io.StringIO(), width=200)
    tap = Tap(choice or Choice(), Lines(console))
    for message in messages:
        tap.take(message)
    tap.screen.flush()
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text, tap


FINAL = Final(call=CALL, utterance=8704, text="what time is it", start=8704, end=20000)


# -- what is shown -----------------------------------------------------------------------------


def test_a_line_says_when_how_late_who_and_what() -> None:
    text, tap = shown(heard(FINAL, at_ms=1000), heard(FINAL, seq=1, at_ms=2500))
    first, second = text.splitlines()
    assert first.split() == ["0.000", "s", "1.50", "ms", "stt", *first.split()[5:]]
    assert "heard: “what time is it”" in first
    assert second.startswith("   1.500 s")
    assert tap.shown == 2


def test_what_has_no_words_is_shown_with_kind_and_fields() -> None:
    opened = SpeechStarted(call=CALL, onset=512, probability=0.98765432)
    text, _ = shown(heard(opened, "audio_in"), heard(HEARTBEAT), choice=Choice(("heart", "speech")))
    assert "caller speaks (sample 512)" in text
    assert "heartbeat actor=stt inc=1 pid=2 state=ready" in text


def test_a_round_is_shown_as_a_table() -> None:
    text, tap = shown(heard(Cancel(call=CALL, turn=7, reason="barge-in")), heard(ROUND))
    assert "CANCEL<7> barge-in" in text
    assert "round over: not all fenced, took 250.0 ms" in text
    for cells in (("tts", "released", "0.40", "2.50"), ("llm", "stuck", "-", "-")):
        row = next(line for line in text.splitlines() if f"│ {cells[0]} " in line)
        assert [cell.strip() for cell in row.strip("│ ").split("│")][:4] == list(cells)
    assert tap.counts["CANCEL rounds"] == 1


def test_the_demo_and_the_tap_use_the_same_words() -> None:
    console = Console(file=io.StringIO(), width=200)
    with Live(console) as live:
        live.show(heard(FINAL))
        live.show(heard(HEARTBEAT))
        live.show(heard(AgentPcm(call=CALL, pcm=bytes(640))))
    demo: str = console.file.getvalue()  # type: ignore[attr-defined]
    text, _ = shown(heard(FINAL))
    assert demo.split()[2:] == text.split()[4:]


@pytest.mark.parametrize(
    ("choice", "kinds"),
    [
        (Choice(), {"stt.final", "CANCEL", "cancel.acked"}),
        (Choice(events=("stt",)), {"stt.final"}),
        (Choice(events=("cancel",)), {"CANCEL", "cancel.acked"}),
        (Choice(events=("heartbeat", "agent")), {"heartbeat", "agent.pcm"}),
        (Choice(actors=("turn_manager",)), {"CANCEL", "cancel.acked"}),
        (Choice(call="01OTHER"), {"cancel.acked"}),
        (Choice(media=True), {"stt.final", "CANCEL", "cancel.acked", "agent.pcm"}),
    ],
)
def test_filters(choice: Choice, kinds: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    ack = Acked(call="01OTHER", turn=7, actor="stt", inc=1, fenced=True, released=True)
    tap = Tap(choice, JsonLines())
    for message in (
        heard(FINAL),
        heard(Cancel(call=CALL, turn=7), "turn_manager"),
        heard(ack, "turn_manager"),
        heard(HEARTBEAT),
        heard(AgentPcm(call=CALL, turn=7, pcm=bytes(640)), "playback"),
    ):
        tap.take(message)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {one["kind"] for one in told} == kinds
    assert (tap.counts["events"], tap.counts["media"], tap.counts["control"]) == (3, 1, 1)


def test_an_event_nobody_ever_says_is_refused() -> None:
    with pytest.raises(BadFilter, match=r"--event nosuch: no such event; kinds: CANCEL,"):
        Choice(events=("nosuch",))


def test_json_has_every_field_and_counts_samples(capsys: pytest.CaptureFixture[str]) -> None:
    tap = Tap(Choice(media=True), JsonLines())
    tap.take(heard(AgentPcm(call=CALL, turn=7, first=320, pcm=bytes(640)), "playback", 5, 100))
    tap.take(heard(FINAL))
    sound, final = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert sound == {
        "at_ns": 100 * MS,
        "lane": "media",
        "kind": "agent.pcm",
        "call": CALL,
        "turn": 7,
        "source": "playback",
        "seq": 5,
        "latency_us": 1500,
        "first": 320,
        "rate": 16000,
        "ducked": False,
        "last": False,
        "samples": 320,
    }
    assert {*Final.__struct_fields__} < {*final}


# -- what is counted ---------------------------------------------------------------------------


def test_gaps_of_the_tap_and_of_actors_are_shown_and_counted() -> None:
    gap = BusGap(actor="tts", origin="llm", topic="llm.sentence", expected=3, got=5, missed=2)
    text, tap = shown(heard(FINAL, seq=0), heard(FINAL, seq=4), heard(gap, "tts"))
    assert "GAP: this tap missed 3 messages of stt.final from stt" in text
    assert "GAP: tts missed 2 messages of llm.sentence from llm" in text
    assert "3 missed by this tap, 2 missed by actors" in tap.summary(1.0)


def test_malformed_frames_are_shown_with_why_and_first_bytes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = Heard(0, "events", [b"stt.final\0x", b"\xff\x00", b"\xc1" * 99])
    text, tap = shown(bad, heard(FINAL))
    assert "MALFORMED on events: stamp: " in text
    assert "3 frames, begins 73 74 74 2e" in text
    assert "1 malformed" in tap.summary(1.0)
    Tap(Choice(events=("stt",)), JsonLines()).take(bad)
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["frames"], told["bytes"]) == ("malformed", 3, 112)
    assert told["first_bytes"][1] == "ff 00"


def test_sound_is_shown_as_a_rate() -> None:
    _, tap = shown(*(heard(LinePcm(call=CALL, pcm=bytes(640)), "line", n) for n in range(100)))
    assert tap.shown == 0
    said = tap.media.take(2.0)
    assert said.startswith("line.pcm 50 frames/s 3")
    assert said.endswith(" kB/s")
    assert tap.media.take(2.0) == ""


# -- on a bus ----------------------------------------------------------------------------------


@contextmanager
def bus() -> Iterator[tuple[Context, Endpoints]]:
    """A broker of its own."""
    context: Context = zmq.Context()
    where = Endpoints("inproc://tap")
    broker = Broker(context, where)
    broker.start()
    try:
        yield context, where
    finally:
        context.term()
        broker.join()


@contextmanager
def talker(context: Context, where: Endpoints, *events: Event) -> Iterator[None]:
    """Says these over and over, in an order of its own."""
    done = threading.Event()

    def talk() -> None:
        socket = make(context, zmq.PUB)
        socket.connect(where["events.in"])
        seq = 0
        while not done.wait(0.002):
            for event in events:
                socket.send_multipart(heard(event, seq=seq).frames)
            seq += 1
        socket.close()

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_listen_ends_after_so_many_messages() -> None:
    console = Console(file=io.StringIO(), width=200)
    tap = Tap(Choice(events=("stt.final",)), Lines(console))
    with bus() as (context, where), talker(context, where, FINAL, HEARTBEAT):
        listen(tap, context, where, count=7)
    assert tap.shown == 7
    assert tap.counts["missed by this tap"] == 0


def test_listen_ends_after_so_long_and_says_that_nothing_was_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ops.tap.SILENT_S", 0.05)
    console = Console(file=io.StringIO(), width=200)
    tap = Tap(Choice(), Lines(console))
    with bus() as (context, where):
        listen(tap, context, where, for_s=0.1)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert "nothing heard for 0.05 s" in text


def test_a_silent_broker_is_one_clear_error() -> None:
    context: Context = zmq.Context()
    tap = Tap(Choice(), JsonLines())
    with pytest.raises(NoAnswer, match="the broker does not answer"):
        listen(tap, context, Endpoints("inproc://nobody"), patience_s=0.02)
    context.term()


@pytest.mark.parametrize("words", [["tap"], ["record", "--out", "x"]])
def test_without_a_fleet_one_line_says_to_start_it(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BARGEIN_HOME", str(tmp_path))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "fleet.toml").write_text("")
    result = runner.invoke(app, words)
    assert result.exit_code == 69
    assert result.stderr == "bargein: the fleet is not running; start it with `bargein up`\n"


# -- a process that is ended -------------------------------------------------------------------

PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
import zmq
from bus.broker import Broker
from bus.endpoints import Endpoints
from bus.settings import load
from ops.cli import app
from tests.test_tap import FINAL, talker

context = zmq.Context.instance()
where = Endpoints(load().run_dir)
broker = Broker(context, where)
broker.start()
try:
    with talker(context, where, FINAL):
        app(["tap", *sys.argv[2:]])
finally:
    context.term()
    broker.join()
"""


@contextmanager
def tapping(home: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`bargein tap` beside a broker and a talker; to it the process looks like a supervisord."""
    root = Path(__file__).parent.parent
    (home / "config").mkdir()
    (home / "config" / "fleet.toml").write_text("")
    (home / "var" / "run").mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(root), "BARGEIN_HOME": str(home)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "supervisord", *options],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        (home / "var" / "run" / "supervisord.pid").write_text(str(process.pid))
        yield process


def test_ctrl_c_ends_with_a_summary(tmp_path: Path) -> None:
    with tapping(tmp_path) as process:
        assert process.stdout is not None
        while "what time is it" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert "messages shown" in out.splitlines()[-1]


@pytest.mark.parametrize("options", [(), ("--jsonl",)])
def test_a_closed_pipe_is_an_end_like_any_other(options: tuple[str, ...], tmp_path: Path) -> None:
    with tapping(tmp_path, *options) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


# -- record ------------------------------------------------------------------------------------


def test_a_recording_holds_header_and_messages(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    with bus() as (context, where), talker(context, where, FINAL, HEARTBEAT):
        recorder = Recorder(context, where, path, call=CALL, header={"settings": {"a": 1}})
        assert recorder.open()
        recorder.start()
        while recorder.count < 5:
            recorder.join(0.01)
        recorder.stop()
    trace = read_trace(path)
    assert (trace.header["call"], trace.header["settings"]) == (CALL, {"a": 1})
    assert len(trace.records) == recorder.count
    assert {type(record.event) for record in trace.records} == {Final}
    assert (trace.damage, recorder.bytes) == ("", path.stat().st_size)


def test_a_full_disk_is_told_and_what_was_written_stays(tmp_path: Path) -> None:
    with bus() as (context, where), talker(context, where, FINAL):
        recorder = Recorder(context, where, Path("/dev/full"))
        assert recorder.open()
        recorder.start()
        recorder.join(10)
        with pytest.raises(RecordingFailed, match="No space left on device"):
            recorder.stop()
        recorder = Recorder(context, where, tmp_path / "no" / "trace")
        recorder.start()
        recorder.join(10)
        with pytest.raises(RecordingFailed, match="No such file or directory"):
            recorder.stop()


def test_a_partly_written_message_does_not_harm_those_before(tmp_path: Path) -> None:
    whole = FULL.read_bytes()
    path = tmp_path / "trace"
    path.write_bytes(whole[:-7])
    trace, all_of_it = read_trace(path), read_trace(FULL)
    assert len(trace.records) == len(all_of_it.records) - 1
    assert f"of {len(whole) - 7} bytes" in trace.damage
    assert decode(Heard(0, "events", trace.records[-1].frames)).event == trace.records[-1].event
