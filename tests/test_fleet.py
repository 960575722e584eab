"""The fleet for real: supervisord, processes, kill -9, SIGSTOP, real speech in real time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import psutil
import pytest
from typer.testing import CliRunner

from actors.segments import problems
from actors.transcript import read
from bus.ask import ask
from bus.control import MANAGER
from bus.recording import Record
from bus.wire import prefix, unpack
from bus.wiretap import Heard
from engines.responder.stories import STORIES
from ops import wav
from ops.cli import app
from ops.cues import Cue
from ops.report import Asked, stale_frames, turn_table, verdict
from schemas import (
    ActorBack,
    CallClosed,
    CancelStuck,
    CloseCall,
    Ducked,
    EngineFailed,
    EngineWorked,
    Event,
    Final,
    GoOn,
    LinePlayed,
    PlaybackStarted,
    Respond,
    Resume,
    Sentence,
    SpeechContinued,
    SpokenWords,
    SttDegraded,
    SttRecovered,
    TurnCancelled,
    TurnEnded,
    TurnStarted,
)
from tests.fleet import Fleet, clip, fleet, free_port

STORY = ("long_request", "rms", "tell me a very long story")
TIMES = ("interruption", "rms", "wait a minute, what is twelve times seven")
PLUS = ("question", "kal16", "what is seven plus five")
E = TypeVar("E", bound=Event)
HOUR = ("question", "kal16", "how many minutes are in an hour")
FRANCE = ("question", "kal16", "what is the capital of france")


def past(records: list[Record], kind: type[E]) -> list[E]:
    """The events of a kind, in order."""
    return [record.event for record in records if isinstance(record.event, kind)]


@pytest.fixture(scope="module")
def running() -> Iterator[Fleet]:
    with fleet() as made:
        yield made


def test_a_call_is_recognised_answered_and_talked_over(running: Fleet) -> None:
    clips = [clip(*STORY, Cue("clock", 0.3)), clip(*TIMES, Cue("speaks", 2.0))]
    placed, records = running.place(clips)
    asked = [Asked(STORY[2]), Asked("wait a minute what is twelve times seven", "eighty four")]
    assert verdict(records, asked) == []
    assert past(records, Ducked)
    assert all(order.draft for order in past(records, Respond)), "asked before the turn was sure"
    assert {path.name for path in placed.folder.iterdir()} >= {
        "caller.wav",
        "agent.wav",
        "trace.msgpack",
    }
    status_tells_of_the_smoke_test_after_it(running)


def status_tells_of_the_smoke_test_after_it(running: Fleet) -> None:
    """And how long a CANCEL may take."""
    running.until(lambda: "speech smoke test: passed" in running.status())
    text = running.status()
    assert "\nspeech smoke test: passed" in text
    assert "\ncancel budget 1000 ms (cancel.release_ms;" in text
    rows = {row["actor"]: row for row in json.loads(running.status("--json"))}
    assert rows["turn_manager"]["cancel_budget_ms"] == 1000
    assert rows["tts"]["gauges"]["smoke_sound_ms"] > 800
    assert rows["tts"]["trouble"] == ""


def test_a_call_that_the_fleet_closes_ends_at_the_line_too(running: Fleet) -> None:
    """As when a caller was idle for too long; the story would have gone on for a minute."""

    def close(heard: Heard) -> None:
        if heard.frames[0].startswith(prefix(PlaybackStarted)):
            call = heard.frames[0].partition(b"\0")[2].decode()
            ask(running.where, MANAGER, CloseCall(call=call, reason="enough"), 2.0)

    placed, records = running.place([clip(*STORY, Cue("clock", 0.3))], watch=close)
    assert past(records, CallClosed)[0].reason == "enough"
    assert placed.seconds < 6


def test_two_calls_at_once_do_not_touch_each_other(running: Fleet) -> None:
    """The first is talked over while the second listens to its whole answer."""

    async def both() -> list[list[Record]]:
        over = [clip(*STORY, Cue("clock", 0.3)), clip(*TIMES, Cue("speaks", 1.5))]
        calm = [clip(*PLUS, Cue("clock", 0.3)), clip(*HOUR, Cue("silent", 0.3))]
        placed = await asyncio.gather(running.placing(over), running.placing(calm))
        return [records for _, records in placed]

    talked_over, calm = asyncio.run(both())
    assert [row.outcome for row in turn_table(talked_over)] == ["interrupted", "completed"]
    assert [row.outcome for row in turn_table(calm)] == ["completed", "completed"]
    assert not past(calm, TurnCancelled)
    assert "twelve" in turn_table(calm)[0].heard


def test_a_wedged_model_is_replaced_while_the_call_goes_on(running: Fleet) -> None:
    """llm is stopped in mid-answer; the interruption still silences it, and the next answer comes.

    Stopped by the duck, not by the answer's first sound: after `wedge_ms` the warden kills it,
    and the CANCEL shall find it stopped, not replaced.
    """
    pid = running.pid("llm")

    def stop_llm(heard: Heard) -> None:
        if heard.frames[0].startswith(prefix(Ducked)) and not stopped.is_set():
            os.kill(pid, signal.SIGSTOP)
            stopped.set()

    stopped = threading.Event()
    clips = [clip(*STORY, Cue("clock", 0.3)), clip(*TIMES, Cue("speaks", 0.3))]
    _, records = running.place(clips, watch=stop_llm)
    stuck = past(records, CancelStuck)
    assert [event.actor for event in stuck] == ["llm"]
    assert {row.actor: row.verdict for row in past(records, TurnCancelled)[0].rows}[
        "llm"
    ] == "stuck"
    assert stale_frames(records) == 0
    ended = past(records, TurnEnded)
    assert ended[0].outcome == "interrupted"
    assert ended[0].heard
    assert "eighty four" in ended[-1].heard
    running.wait_ready(llm=pid)


class WhilePlayed:
    """Kills a victim after the other, each once the line has played so many samples of its turn."""

    def __init__(self, **pids_at: tuple[int, int]) -> None:
        self._due = list(pids_at.values())

    def __call__(self, heard: Heard) -> None:
        if self._due and heard.frames[0].startswith(prefix(LinePlayed)):
            event, _ = unpack(heard.frames)
            assert isinstance(event, LinePlayed)
            if event.samples >= self._due[0][1]:
                os.kill(self._due.pop(0)[0], signal.SIGKILL)


def test_an_answer_outlives_llm_and_tts_and_a_call_turn_manager(running: Fleet) -> None:
    """No word of the story is left out or told twice; then it is cut, apologised for, never resumed."""
    pids = {name: running.pid(name) for name in ("llm", "tts", "turn_manager")}
    moments = (12_000, 32_000, 80_000)
    watch = WhilePlayed(**dict(zip(pids, zip(pids.values(), moments, strict=True), strict=True)))
    clips = [clip(*STORY, Cue("clock", 0.3)), clip(*PLUS, Cue("silent", 2.5))]
    _, records = running.place(clips, watch=watch)
    assert {event.actor for event in past(records, ActorBack)} >= {"llm", "tts"}
    story, apology, last = past(records, TurnEnded)
    assert [event.turn for event in past(records, GoOn)] == [story.turn]
    assert [event.turn for event in past(records, Resume)] == [story.turn]
    told = [w for said in past(records, SpokenWords) if said.turn == story.turn for w in said.words]
    assert [word.start for word in told] == sorted(word.start for word in told)
    assert f"Here is a story. {STORIES['lighthouse']}".startswith(" ".join(w.text for w in told))
    assert sum(said.turn == story.turn for said in past(records, Sentence)) > 2
    assert stale_frames(records) == 0
    assert (story.outcome, story.detail) == ("failed", "turn_manager was restarted")
    assert apology.heard == running.settings.phrases.apology
    assert (last.outcome, last.asked) == ("completed", "what is seven plus five")
    assert last.turn > apology.turn > story.turn
    running.wait_ready(**pids)


class InMidWord:
    """Strikes once per utterance, a victim after the other, at its 6th report that speech goes on."""

    def __init__(self, *victims: Callable[[], None]) -> None:
        self._victims = list(victims)
        self._onset, self._reports = -1, 0

    def __call__(self, heard: Heard) -> None:
        if not heard.frames[0].startswith(prefix(SpeechContinued)):
            return
        event, _ = unpack(heard.frames)
        assert isinstance(event, SpeechContinued)
        if event.onset != self._onset:
            self._onset, self._reports = event.onset, 0
        self._reports += 1
        if self._reports == 6 and self._victims:
            self._victims.pop(0)()

    @property
    def left(self) -> int:
        """Victims nobody has struck."""
        return len(self._victims)


SAID = (PLUS, HOUR, FRANCE, PLUS, HOUR, FRANCE, PLUS)
SAID_AT_S = (0.3, 2.8, 5.3, 10.3, 12.8, 15.3, 23.3)
"""With time for audio_in, which the third kills: what it does not hear live is not struck in mid-word.
And time for the recogniser before the last: on a busy machine it takes some seconds to come back."""


def test_five_deaths_of_stt_in_mid_word_cost_no_sample_and_no_word(running: Fleet) -> None:
    """Then all decoders at once; audio_in dies too. The transcript is that of the call undisturbed.

    Undisturbed, the recogniser gives these clips word for word: soak/callers/manifest.json.
    """
    pids = {name: running.pid(name) for name in ("audio_in", "stt")}

    def kill_stt() -> None:
        os.kill(running.pid("stt"), signal.SIGKILL)

    def kill_both() -> None:
        os.kill(pids["audio_in"], signal.SIGKILL)
        kill_stt()

    def kill_the_decoders() -> None:
        for child in psutil.Process(running.pid("stt")).children():
            child.kill()

    watch = InMidWord(kill_stt, kill_stt, kill_both, kill_stt, kill_stt, kill_the_decoders)
    clips = [clip(*one, Cue("clock", at_s)) for one, at_s in zip(SAID, SAID_AT_S, strict=True)]
    placed, records = running.place(clips, watch=watch, longest_wait_s=10)
    assert not watch.left
    end = len(wav.read(placed.folder / "caller.wav"))
    transcript = running.settings.transcript_dir / f"{placed.call}.jsonl"
    running.until(lambda: transcript.is_file() and problems(read(transcript)[0], end) == [])
    segments, _, problem = read(transcript)
    assert problem == ""
    assert problems(segments, end) == []
    assert [segment.text for segment in segments if segment.text] == [text for *_, text in SAID]
    assert not list((running.settings.journal_dir / placed.call).rglob("*.seg"))
    assert len(past(records, SttDegraded)) == len(past(records, SttRecovered)) == 1
    shown = CliRunner().invoke(
        app,
        ["transcript", placed.call, "--verify", "--json"],
        env={"BARGEIN_HOME": str(running.folder)},
    )
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["proven"] is True
    tripped = CliRunner().invoke(
        app, ["breaker", "--json"], env={"BARGEIN_HOME": str(running.folder)}
    )
    states = {(row["service"], row["state"]) for row in json.loads(tripped.stdout)}
    assert ("stt", "closed") in states
    running.wait_ready(**pids)


def test_killed_actors_are_back_and_ready(running: Fleet) -> None:
    """All seven at once."""
    pids = {actor: running.signal(actor, signal.SIGKILL) for actor in running.settings.fleet.roster}
    running.wait_ready(**pids)


def test_after_all_that_a_call_still_works(running: Fleet) -> None:
    _, records = running.place([clip(*PLUS, Cue("clock", 0.3))])
    assert "seven plus five" in past(records, TurnStarted)[0].text
    assert "twelve" in past(records, TurnEnded)[0].heard


SECOND_RUNGS = {
    "fallbacks = []": 'fallbacks = [{ url = "http://localhost:8808/v1", model = "embedded" }]',
    'voice = "en-us"': 'voice = "nobody"',
}
"""The first voice is none, the first model is where LLM_URL says."""


def test_half_duplex_ignores_what_is_said_over_the_agent_and_the_second_rungs_answer() -> None:
    """One fleet for both: nobody listens where the model is, and the voice does not exist."""
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    with fleet(SECOND_RUNGS, ENABLE_BARGE_IN="0", LLM_URL=nobody) as half:
        clips = [clip(*PLUS, Cue("clock", 0.3)), clip(*TIMES, Cue("speaks", 0.2))]
        _, records = half.place(clips, longest_wait_s=6)
        told = half.status()
    assert len(past(records, Final)) == 2
    assert not past(records, TurnCancelled)
    assert not past(records, Ducked)
    assert [event.outcome for event in past(records, TurnEnded)] == ["completed"]
    assert "twelve" in past(records, TurnEnded)[0].heard
    failed = {event.service: event.endpoint for event in past(records, EngineFailed)}
    assert failed == {"llm": f"{nobody[7:-3]}/embedded"}
    assert "voice 'espeak/nobody' is not loaded, others speak" in " ".join(told.split())
    worked = {event.endpoint for event in past(records, EngineWorked) if event.service == "llm"}
    assert worked == {f"localhost:{half.settings.responder.port}/embedded"}
