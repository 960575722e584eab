"""In comes the folder of a finished trial; out goes its scene: both voices and each turn on one clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soxr

from bus.recording import Record, read
from ops import wav
from ops.facts import told
from schemas import AgentPcm, Final, Speech, SpeechEnded, SttDegraded, TurnStarted
from soak.duplex.caller import Placed
from soak.duplex.levels import RATE, Sound
from soak.duplex.sounds import Prepared
from soak.duplex.trials import Trial

STARVED_S = 2.0
"""Words later than that were not waited for (`turns.final_wait_ms`): the box was overloaded."""
AHEAD = 50
"""Frames that may have been lost in a row: a second."""


@dataclass(frozen=True)
class Turn:
    """One answer: its frames filled [start, end) of the call; `would` is what it would have sounded like.

    `would` begins at `start` and goes on as far as speech had been made, cut or not. `skipped`:
    samples of it that no frame carried. `finished`: it came to its natural end. `ducked_at`: where
    frames marked as ducked begin, from the turn's start; used only where a pause hides the moment.
    """

    number: int
    start: int
    end: int
    would: Sound
    skipped: int = 0
    finished: bool = False
    ducked_at: tuple[int, ...] = ()


@dataclass(frozen=True)
class Scene:
    """One trial as it sounded, 16 kHz, full scale 1.0. All positions are samples of the call.

    The caller's sound lies in [began, end), the trial's onset at `onset`; -1: it never began.
    `asked`: the texts of the turns begun, in order. `deaf`: why the recogniser was none; "" if it was well.
    """

    trial: Trial
    caller: Sound
    agent: Sound
    began: int
    onset: int
    end: int
    turns: Sequence[Turn] = ()
    asked: dict[int, str] = field(default_factory=dict)
    late_ms: float = 0.0
    deaf: str = ""

    def of(self, turn: Turn) -> Sound:
        """The agent's sound from the turn's start to the end of the recording, without other turns'."""
        sound = self.agent[turn.start :].copy()
        sound[max(0, turn.end - turn.start) :] = 0
        return sound


def load(
    prepared: Prepared, folder: Path, placed: Sequence[Placed], said_at: int, late_ms: float
) -> Scene:
    """From caller.wav, agent.wav and trace.msgpack, and from where the line placed each frame."""
    _, records = read(folder / "trace.msgpack")
    agent = wav.read(folder / "agent.wav", RATE) / 32768.0
    spoken = said_at >= 0
    return Scene(
        trial=prepared.trial,
        caller=wav.read(folder / "caller.wav", RATE) / 32768.0,
        agent=agent,
        began=said_at,
        onset=said_at + prepared.onset if spoken else -1,
        end=said_at + prepared.end if spoken else -1,
        turns=turns_of(records, placed, len(agent)),
        asked={fact.turn: fact.text for _, fact in told(records, TurnStarted) if fact.turn},
        late_ms=late_ms,
        deaf=deaf(records),
    )


def deaf(records: Sequence[Record]) -> str:
    """Whether the recogniser failed, or had no processor: such a call shows nothing about turn taking."""
    if failed := told(records, SttDegraded):
        return f"the recogniser failed: {failed[0][1].why}"
    ends = {event.onset: ns for ns, event in told(records, SpeechEnded)}
    late_ns = [ns - ends[f.utterance] for ns, f in told(records, Final) if f.utterance in ends]
    latest_s = max(late_ns, default=0) / 1e9
    return f"words came {latest_s:.1f} s after speech" if latest_s > STARVED_S else ""


def turns_of(records: Sequence[Record], placed: Sequence[Placed], length: int) -> list[Turn]:
    """Every turn of which a frame was played, as it lies in a recording of `length` samples."""
    sent: dict[int, list[AgentPcm]] = {}
    for _, frame in told(records, AgentPcm):
        sent.setdefault(frame.turn, []).append(frame)
    return [
        _turn(records, frames, [one for one in placed if one.turn == number], length)
        for number, frames in sorted(sent.items())
        if any(one.turn == number for one in placed)
    ]


def _turn(
    records: Sequence[Record], sent: Sequence[AgentPcm], placed: Sequence[Placed], length: int
) -> Turn:
    """Lay out what was meant where each frame was placed; frames of which no trace is found are none."""
    number, start = placed[0].turn, placed[0].at
    full = _speech(records, number)
    would = np.zeros(placed[-1].at - start + len(placed[-1].pcm) // 2)
    position = skipped = 0
    ducked_at: list[int] = []
    for frame, one in _matched(sent, placed):
        at = one.at - start
        meant = full[frame.first : frame.end]
        would[at : at + len(meant)] = meant
        skipped += abs(frame.first - position)
        position = frame.end
        if frame.ducked:
            ducked_at.append(at)
    return Turn(
        number,
        start,
        min(start + len(would), length),
        np.concatenate([would, full[position:]]),
        skipped,
        any(frame.last for frame in sent),
        tuple(ducked_at[:1]),
    )


def _matched(
    sent: Sequence[AgentPcm], placed: Sequence[Placed]
) -> Iterator[tuple[AgentPcm, Placed]]:
    """Each placed frame with the one of the trace that has its sound; both are in order."""
    done = 0
    for one in placed:
        for index in range(done, min(done + AHEAD, len(sent))):
            if sent[index].pcm == one.pcm:
                yield sent[index], one
                done = index + 1
                break


def _speech(records: Sequence[Record], number: int) -> Sound:
    """All sound that was made for the turn, at the call's rate."""
    made = [event for _, event in told(records, Speech) if event.turn == number and event.samples]
    if not made:
        return np.zeros(0)
    full = np.zeros(max(event.end for event in made))
    for event in made:
        full[event.first : event.end] = np.frombuffer(event.pcm, "<i2") / 32768.0
    if made[0].rate == RATE:
        return full
    return np.asarray(soxr.resample(full, made[0].rate, RATE, quality="HQ"))
