"""`bargein talk`: what the person sees, and a whole conversation in a simulated room over a real fleet."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from bus.wiretap import Heard
from engines.protocols import EchoFigures
from ops.cli import app
from ops.line import Line
from ops.microphone import Meters, Microphone, Played
from ops.placing import Plan, write_report
from ops.sound_card import SoundCard
from ops.talk import Screen, converse
from ops.talk_view import DEGRADED, View, after, language, panel
from ops.wav import Samples
from ops.wav import read as read_wav
from schemas import (
    CallClosed,
    Cancel,
    Ducked,
    Event,
    Final,
    LineLost,
    Partial,
    PlaybackStarted,
    Restored,
    Sentence,
    SessionOpened,
    SpeechEnded,
    SpeechStarted,
    SttDegraded,
    SttRecovered,
    TurnEnded,
    TurnStarted,
)
from soak import caller_set
from soak.echo_card import RoomCard
from soak.echo_path import FULL_SCALE, ROOMS, active_dbfs
from tests.fleet import READY_S, Fleet, fleet

CALL = "C1"
DESK = ROOMS[1]
VOICE_DBFS = -20.0
"""RMS of espeak's voice as the fleet plays it."""


def saw(*events: Event) -> View:
    """What is on the screen after these."""
    view = View()
    for event in events:
        view = after(view, event)
    return view


ASKED = (
    SpeechStarted(call=CALL, onset=0),
    Partial(call=CALL, utterance=0, text="tell me", start=0, end=0),
    SpeechEnded(call=CALL, onset=0, end=9, voiced=9),
    Final(call=CALL, utterance=0, text="tell me a story", start=0, end=0),
    TurnStarted(call=CALL, turn=1, text="tell me a story", start=0, end=0),
)
SPEAKING = (
    *ASKED,
    Sentence(call=CALL, turn=1, index=0, text="Once there was a light."),
    PlaybackStarted(call=CALL, turn=1),
)
DUCKED = (
    *SPEAKING,
    SpeechStarted(call=CALL, onset=20),
    Ducked(call=CALL, turn=1, at=0, gain_db=-26.0),
)
INTERRUPTED = (
    *DUCKED,
    Cancel(call=CALL, turn=1, reason="barge-in"),
    TurnEnded(
        call=CALL, turn=1, outcome="interrupted", asked="tell me a story", heard="Once", answer=""
    ),
)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ((), "listening"),
        (ASKED[:1], "hearing you"),
        (ASKED[:3], "listening"),
        (ASKED, "thinking"),
        (SPEAKING, "speaking"),
        (DUCKED, "ducked"),
        ((*DUCKED, Restored(call=CALL, turn=1, at=0)), "speaking"),
        (INTERRUPTED, "interrupted"),
    ],
)
def test_the_state_is_the_conversations(events: tuple[Event, ...], state: str) -> None:
    assert saw(*events).state == state


def shown(view: View, meters: Meters, tongue: str = "en") -> str:
    """The panel as text."""
    console = Console(file=io.StringIO(), width=80)
    console.print(panel(view, meters, tongue))
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def test_partials_are_shown_until_the_turn_begins() -> None:
    assert "tell me …" in shown(saw(*ASKED[:2]), Meters())
    assert "…" not in shown(saw(*ASKED), Meters())


def test_what_was_heard_stays_and_what_was_not_goes() -> None:
    text = shown(saw(*INTERRUPTED), Meters())
    assert "Once — (you interrupted)" in text
    assert "there was a light" not in text


def away(channel: int = 0) -> Event:
    return SttDegraded(call=CALL, batch_mode=True, batch_interval_s=30, channel=channel)


@pytest.mark.parametrize(
    "end",
    [
        SttRecovered(call=CALL, batch_mode=True, batch_interval_s=30, degraded_for_s=1),
        SessionOpened(call=CALL, stt_session="S"),
        CallClosed(call=CALL, reason="hangup"),
        LineLost(call=CALL, silent_ms=5000),
    ],
    ids=["recovered", "ready", "close", "error"],
)
def test_o15_degraded_transcription_is_shown_until_it_is_over(end: Event) -> None:
    """Beside the state of the conversation, which goes on; in the terminal's language."""
    view = saw(*SPEAKING, away())
    assert view.state == "speaking"
    assert DEGRADED["en"] in shown(view, Meters())
    assert DEGRADED["en"] not in shown(saw(*SPEAKING, away(), end), Meters())
    assert DEGRADED["de"] in shown(view, Meters(), "de")
    assert saw(
        away(),
        away(1),
        SttRecovered(call=CALL, batch_mode=True, batch_interval_s=30, degraded_for_s=1),
    ).degraded == {1}


def test_the_terminals_language_or_english() -> None:
    assert language({"LANG": "de_DE.UTF-8"}) == "de"
    assert language({"LC_ALL": "fr_FR", "LANG": "de_DE"}) == "fr"
    assert language({"LANG": "C.UTF-8"}) == language({}) == "en"


def test_meters_show_both_directions_and_the_echo() -> None:
    echo = EchoFigures(erle_db=21.4, delay_ms=120.2)
    text = shown(View(), Meters(-40.0, -30.0, 0.0, echo))
    you, agent, below = (
        next(x for x in text.splitlines() if w in x) for w in ("you", "agent", "echo")
    )
    assert (you.count("█"), agent.count("█")) == (12, 24)
    assert "120 ms late, 21 dB off" in below


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000])
def test_the_reference_is_brought_to_the_microphones_rate(rate: int) -> None:
    played, time = Played(rate), np.arange(rate) / rate
    sound = np.asarray(np.sin(2 * np.pi * 500 * time) * 10_000, np.int16)
    blocks = sound.reshape(50, -1)
    out = np.frombuffer(b"".join(played.push(block.tobytes()) for block in blocks), np.int16)
    assert len(out) == pytest.approx(16_000, abs=100)
    loudest = np.argmax(np.abs(np.fft.rfft(out[-8_000:])))
    assert loudest * 2 == pytest.approx(500, abs=4)


@pytest.mark.parametrize("words", [["talk"], ["call", "--mic"]])
def test_without_a_sound_card_one_line_says_what_to_do(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever is missing on this machine: the fleet is asked for last."""
    monkeypatch.setenv("BARGEIN_HOME", str(tmp_path))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "fleet.toml").write_text("")
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 69
    assert len(result.stderr.splitlines()) == 1


class Watched(Screen):
    """A screen whose states can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[str] = [self.view.state]
        self.microphones: asyncio.Queue[Microphone] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Condition()

    def show(self, heard: Heard) -> None:
        super().show(heard)
        if self.view.state != self.states[-1]:
            self.states.append(self.view.state)
            asyncio.run_coroutine_threadsafe(self._tell(), self._loop)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, *states: str) -> None:
        """Until these have been seen, in this order."""
        async with self._changed:
            async with asyncio.timeout(READY_S):
                await self._changed.wait_for(lambda: self._seen(states))

    def _seen(self, states: tuple[str, ...]) -> bool:
        rest = iter(self.states)
        return all(state in rest for state in states)

    def microphone(self, line: Line, card: SoundCard, headphones: bool) -> Microphone:
        made = super().microphone(line, card, headphones)
        self.microphones.put_nowait(made)
        return made


def clip(kind: str, text: str, over_echo_db: float) -> Samples:
    """A shipped clip, so loud at the microphone."""
    pcm = np.frombuffer(caller_set.find(kind, "rms", text)[0].pcm(), np.int16)
    gain = 10 ** ((DESK.echo_dbfs + over_echo_db - active_dbfs(pcm)) / 20)
    return np.asarray(pcm * gain, np.int16)


async def talk_over_it(made: Fleet, screen: Watched, card: RoomCard) -> None:
    """Ask for a story, listen to 5 s of it, ask something else, hear the answer, hang up."""
    microphone = await screen.microphones.get()
    card.say(clip("long_request", "tell me a very long story", 3) / FULL_SCALE)
    await screen.until("thinking", "speaking")
    card.say(np.zeros(5 * 16_000))
    card.say(clip("interruption", "wait a minute, what is twelve times seven", 0) / FULL_SCALE)
    await screen.until("speaking", "interrupted", "thinking", "speaking", "listening")
    assert microphone.meters.echo is not None
    assert microphone.meters.echo.delay_ms is not None
    os.kill(os.getpid(), signal.SIGINT)


async def conversation(made: Fleet) -> tuple[Watched, Path]:
    """The call; its folder."""
    screen, card = Watched(), RoomCard(DESK, VOICE_DBFS)
    plan = Plan(made.where, made.settings.calls_dir, ready_wait_s=READY_S, watch=screen.show)
    placed, _ = await asyncio.gather(
        converse(plan, screen, card, headphones=False), talk_over_it(made, screen, card)
    )
    write_report(placed)
    return screen, placed.folder


def test_a_conversation_next_to_a_loudspeaker() -> None:
    with fleet() as made:
        screen, folder = asyncio.run(conversation(made))
        kept = {path.name for path in folder.iterdir()}
        turns = json.loads((folder / "transcript.jsonl").read_text().splitlines()[0])
        sent, played = read_wav(folder / "caller.wav"), read_wav(folder / "agent.wav")
    assert screen.states.count("interrupted") >= 1
    assert {"caller.wav", "agent.wav", "trace.msgpack", "timeline.png"} <= kept
    assert turns
    alone = slice(5 * 16_000, 7 * 16_000)
    assert active_dbfs(played[alone]) > -35
    assert active_dbfs(sent[alone]) < active_dbfs(played[alone]) - 20
