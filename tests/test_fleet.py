"""The fleet for real: supervisord, processes, kill -9, SIGSTOP, real speech in real time."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from typing import TypeVar

import pytest

from bus.ask import ask
from bus.control import MANAGER
from bus.recording import Record
from bus.wire import prefix
from bus.wiretap import Heard
from ops.cues import Cue
from ops.report import Asked, stale_frames, turn_table, verdict
from schemas import (
    CallClosed,
    CancelStuck,
    CloseCall,
    Ducked,
    Event,
    Final,
    PlaybackStarted,
    Respond,
    TurnCancelled,
    TurnEnded,
    TurnStarted,
)
from tests.fleet import Fleet, clip, fleet

STORY = ("long_request", "rms", "tell me a very long story")
TIMES = ("interruption", "rms", "wait a minute, what is twelve times seven")
PLUS = ("question", "kal16", "what is seven plus five")
E = TypeVar("E", bound=Event)
HOUR = ("question", "slt", "how many minutes are in an hour")


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
    """llm is stopped in mid-answer; the interruption still silences it, and the next answer comes."""
    pid = running.pid("llm")

    def stop_llm(heard: Heard) -> None:
        if heard.frames[0].startswith(prefix(PlaybackStarted)) and not stopped.is_set():
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


def test_a_call_survives_the_death_of_turn_manager(running: Fleet) -> None:
    """Killed in mid-answer: the voice is cut, never resumed; the next question is answered."""
    pid = running.pid("turn_manager")
    killed = threading.Event()

    def kill(heard: Heard) -> None:
        if heard.frames[0].startswith(prefix(PlaybackStarted)) and not killed.is_set():
            os.kill(pid, signal.SIGKILL)
            killed.set()

    clips = [clip(*STORY, Cue("clock", 0.3)), clip(*PLUS, Cue("clock", 6.0))]
    _, records = running.place(clips, watch=kill)
    first, last = past(records, TurnEnded)
    assert (first.outcome, first.detail) == ("failed", "turn_manager was restarted")
    assert (last.outcome, last.asked) == ("completed", "what is seven plus five")
    assert last.turn > first.turn
    running.wait_ready(turn_manager=pid)


@pytest.mark.parametrize(
    "actor", ["audio_in", "stt", "turn_manager", "llm", "tts", "playback", "breaker"]
)
def test_a_killed_actor_is_back_and_ready(running: Fleet, actor: str) -> None:
    pid = running.signal(actor, signal.SIGKILL)
    running.wait_ready(**{actor: pid})


def test_after_all_that_a_call_still_works(running: Fleet) -> None:
    _, records = running.place([clip(*PLUS, Cue("clock", 0.3))])
    assert "seven plus five" in past(records, TurnStarted)[0].text
    assert "twelve" in past(records, TurnEnded)[0].heard


def test_half_duplex_ignores_what_is_said_over_the_agent() -> None:
    with fleet(ENABLE_BARGE_IN="0") as half:
        clips = [clip(*PLUS, Cue("clock", 0.3)), clip(*TIMES, Cue("speaks", 0.2))]
        _, records = half.place(clips, longest_wait_s=6)
    assert len(past(records, Final)) == 2
    assert not past(records, TurnCancelled)
    assert not past(records, Ducked)
    assert [event.outcome for event in past(records, TurnEnded)] == ["completed"]
