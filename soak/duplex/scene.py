"""In comes the folder of a finished trial; out goes its scene: both voices and each turn on one clock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soxr

from bus.recording import Record, read
from ops import wav
from ops.facts import told
from schemas import AgentPcm, Speech, TurnStarted
from soak.duplex.levels import RATE, Sound
from soak.duplex.sounds import Prepared
from soak.duplex.trials import Trial

ALIGN_S = 1.5
ALIGN_MS = 40


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
    `asked`: the texts of the turns begun, in order.
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

    def of(self, turn: Turn) -> Sound:
        """The agent's sound from the turn's start to the end of the recording, without other turns'."""
        sound = self.agent[turn.start :].copy()
        sound[max(0, turn.end - turn.start) :] = 0
        return sound


def load(prepared: Prepared, folder: Path, said_at: int, late_ms: float) -> Scene:
    """From caller.wav, agent.wav, call.json and trace.msgpack."""
    _, records = read(folder / "trace.msgpack")
    t0_ns = int(json.loads((folder / "call.json").read_text())["t0_ns"])
    agent = wav.read(folder / "agent.wav", RATE) / 32768.0
    spoken = said_at >= 0
    return Scene(
        trial=prepared.trial,
        caller=wav.read(folder / "caller.wav", RATE) / 32768.0,
        agent=agent,
        began=said_at,
        onset=said_at + prepared.onset if spoken else -1,
        end=said_at + prepared.end if spoken else -1,
        turns=turns_of(records, t0_ns, agent),
        asked={fact.turn: fact.text for _, fact in told(records, TurnStarted) if fact.turn},
        late_ms=late_ms,
    )


def turns_of(records: Sequence[Record], t0_ns: int, agent: Sound) -> list[Turn]:
    """Every turn of which a frame left, as it lies in the recording."""
    frames: dict[int, list[tuple[int, AgentPcm]]] = {}
    for ns, frame in told(records, AgentPcm):
        if frame.samples or frame.last:
            frames.setdefault(frame.turn, []).append(((ns - t0_ns) * RATE // 10**9, frame))
    return [_turn(records, number, sent, agent) for number, sent in sorted(frames.items())]


def _turn(
    records: Sequence[Record], number: int, sent: list[tuple[int, AgentPcm]], agent: Sound
) -> Turn:
    """Lay the frames out as the line does: when they come, or right behind the one before."""
    full = _speech(records, number)
    start = end = max(0, sent[0][0])
    position = skipped = 0
    ducked_at: list[int] = []
    ducked = False
    track, would = [np.zeros(0)], [np.zeros(0)]
    for at, frame in sent:
        hole = max(0, at - end)
        meant = full[frame.first : frame.first + frame.samples]
        pcm = np.frombuffer(frame.pcm, "<i2") / 32768.0
        track += [np.zeros(hole), pcm]
        would += [np.zeros(hole), np.pad(meant, (0, frame.samples - len(meant)))]
        skipped += abs(frame.first - position)
        if frame.ducked and not ducked:
            ducked_at.append(end + hole - start)
        ducked = frame.ducked
        position, end = frame.first + frame.samples, end + hole + frame.samples
    shift = _shift(agent, np.concatenate(track), start)
    return Turn(
        number,
        start + shift,
        min(end + shift, len(agent)),
        np.concatenate([*would, full[position:]]),
        skipped,
        any(frame.last for _, frame in sent),
        tuple(ducked_at),
    )


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


def _shift(agent: Sound, track: Sound, start: int) -> int:
    """How many samples later than by the trace's times it sounded: where both agree best."""
    reach = ALIGN_MS * RATE // 1000
    piece = track[: int(ALIGN_S * RATE)]
    around = np.pad(agent, reach)[start : start + len(piece) + 2 * reach]
    if len(around) < len(piece) + 2 * reach or not np.any(piece):
        return 0
    size = 1 << int(np.ceil(np.log2(len(around) + len(piece))))
    match = np.fft.irfft(np.fft.rfft(around, size) * np.conj(np.fft.rfft(piece, size)), size)
    return int(np.argmax(match[: 2 * reach + 1])) - reach
