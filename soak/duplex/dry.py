"""Trials without a fleet: `python -m soak.duplex.dry --trials 260 --seed 1002 [--senses FILE]`.

Whom the agent would yield to, by the real ear, recogniser and rules: five seconds of a core for a trial.
What they sensed is kept in FILE, so that rules, and networks of `engines/floor.py`, are tried on it in
seconds. There is no playback and no load: verdicts are true, times are those of the evidence.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import msgspec
import numpy as np

from actors.duplex import FullDuplex
from actors.evidence import Evidence, Judge, Verdict
from actors.turn_rules import Conversation
from actors.turn_settings import limits
from actors.turn_state import Effect, Rules, Say, Stop
from bus.settings import Settings, load
from engines.floor import SHIPPED, Floor
from schemas import (
    Event,
    Hold,
    LinePlayed,
    PlaybackStarted,
    Restore,
    Sentence,
    SpeechContinued,
    SpeechEnded,
    SpokenWords,
    TurnTick,
)
from soak.duplex import own
from soak.duplex.score import YIELD_S
from soak.duplex.sensing import CALL, RATE, Sense, Sensed, sense
from soak.duplex.trials import OVER_AGENT, Trial, make

MS = 1_000_000
AFTER_MS = 1500
"""Watched behind the last event: verdicts that wait."""
STORY = "here is a story on a small island where no ship had stopped for years"
Asked = Callable[[bytes], float]
"""`engines.floor.Floor`, or one to try."""


class Noting(FullDuplex):
    """Full duplex that remembers what decided."""

    def __init__(self, judge: Judge) -> None:
        super().__init__(judge)
        self.notes: list[str] = []

    def judge(self, evidence: Evidence) -> Verdict:
        rule = self._judge.rule(evidence)
        if rule is not None and rule.verdict != "hold":
            self.notes.append(_shown(evidence, rule.name))
        return rule.verdict if rule else "wait"


@dataclass
class Trying:
    """One trial before the rules: when the agent was stopped and silent (ms of the call), or None."""

    sensed: Sensed
    settings: Settings
    floor: Asked
    stop_ms: float | None = None
    silent_ms: float | None = None
    turn: int = 0
    held_ms: float | None = None
    duplex: Noting = field(init=False)
    talk: Conversation = field(init=False)

    def __post_init__(self) -> None:
        self.duplex = Noting(Judge(limits(self.settings)))
        self.talk = Conversation(CALL, 0, self.duplex, Rules(system_prompt="", endpointing="fixed"))

    @property
    def meant(self) -> bool:
        """Whether the agent should stop."""
        return self.sensed.trial.kind == "interruption"

    @property
    def right(self) -> bool:
        """It stopped in time for who meant it, and for nobody else."""
        if not self.meant or self.stop_ms is None:
            return not self.meant and self.stop_ms is None
        return self.sensed.onset_ms <= self.stop_ms <= self.sensed.end_ms + YIELD_S * 1000

    def run(self) -> Trying:
        """Everything in its order, until the agent is stopped."""
        answered = False
        for at_ms, event in self.sensed.events:
            if not answered and at_ms >= self.sensed.answer_ms:
                self._until(self.sensed.answer_ms)
                self._answer(self.sensed.answer_ms)
                answered = True
            self._until(at_ms)
            if self.turn:
                samples = int((at_ms - self.sensed.answer_ms) * RATE / 1000)
                self._tell(at_ms, LinePlayed(call=CALL, turn=self.turn, samples=samples, rate=RATE))
            self._tell(at_ms, self._asked(event))
        self._until(self.sensed.events[-1][0] + AFTER_MS if self.sensed.events else 0)
        return self

    def _answer(self, at_ms: float) -> None:
        """The agent begins to speak, whatever the recogniser made of the request."""
        if not self.talk.turn:
            self._follow(at_ms, self.talk.say(STORY, int(at_ms * MS)))
        self.turn = turn = self.talk.turn
        self._tell(at_ms, Sentence(call=CALL, turn=turn, index=0, text=STORY))
        spoken = SpokenWords(call=CALL, turn=turn, sentence=0, text=STORY, words=(), rate=RATE)
        self._tell(at_ms, spoken)
        self._tell(at_ms, PlaybackStarted(call=CALL, turn=turn))

    def _asked(self, event: Sense) -> Event:
        """With what the networks say of its sound."""
        if isinstance(event, SpeechEnded) and event.end in self.sensed.short:
            return msgspec.structs.replace(event, floor=self.floor(self.sensed.short[event.end]))
        if isinstance(event, SpeechContinued) and event.end in self.sensed.lasting:
            return msgspec.structs.replace(event, floor=self.floor(self.sensed.lasting[event.end]))
        return event

    def _until(self, at_ms: float) -> None:
        """Let time pass."""
        while self.stop_ms is None and (due := self.talk.deadline_ns) is not None:
            if due > at_ms * MS:
                return
            self._follow(due / MS, self.talk.step(TurnTick(call=CALL), due))

    def _tell(self, at_ms: float, event: Event) -> None:
        if self.stop_ms is None:
            self._follow(at_ms, self.talk.step(event, int(at_ms * MS)))

    def _follow(self, at_ms: float, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Stop) and self.turn:
                self.stop_ms = at_ms
                self.silent_ms = at_ms if self.held_ms is None else self.held_ms
            elif isinstance(effect, Say) and isinstance(effect.event, Restore):
                self.held_ms = None
            elif isinstance(effect, Say) and isinstance(effect.event, Hold):
                self.held_ms = self.held_ms or at_ms


def _shown(e: Evidence, rule: str) -> str:
    second = f"“{e.second.words}” {e.second.command_nats:+.0f} nats" if e.second else "-"
    lasting = f" (lasting {e.lasting:+.1f})" if e.lasting else ""
    return (
        f"{e.voiced_ms:.0f} ms “{e.words}”, second look {second}, sound {e.floor:+.1f}{lasting} nats, "
        f"level {e.level_db:+.0f} dB: {rule}"
    )


def sensed(trials: Sequence[Trial], path: Path | None, recogniser: str) -> list[Sensed]:
    """From the file if it is there."""
    if path and path.exists():
        return msgspec.msgpack.decode(path.read_bytes(), type=list[Sensed])
    count = len(trials)
    made: list[Sensed] = []
    with Pool() as pool:
        for one in pool.imap(partial(sense, recogniser=recogniser), trials):
            made.append(one)
            if len(made) % 20 == 0:
                print(f"{len(made)} of {count} trials heard", flush=True)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.msgpack.encode(made))
    return made


def report(tried: Sequence[Trying]) -> str:
    """What failed, with what decided; then the scores."""
    lines: list[str] = []
    for one in tried:
        if not one.right:
            trial = one.sensed.trial
            lines.append(
                f"{trial.name} “{' … '.join(trial.texts)}” {trial.voice} [{trial.conditions}]"
            )
            lines += [f"      {note}" for note in one.duplex.notes[-2:]]
    for name, meant in (("yield", True), ("selectivity", False)):
        these = [one.right for one in tried if one.meant is meant]
        lines.append(f"{name} {sum(these) / max(1, len(these)):.3f} ({sum(these)} of {len(these)})")
    waits = [
        one.silent_ms - one.sensed.onset_ms
        for one in tried
        if one.meant and one.right and one.silent_ms is not None
    ]
    p50, p95 = np.percentile(waits or [0.0], (50, 95))
    lines.append(f"onset to silence p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    return "\n".join(lines)


def main() -> None:
    """Sense or read, try, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument(
        "--wav-dir", type=Path, help="your own recordings, as bench duplex takes them"
    )
    parser.add_argument("--senses", type=Path, help="written, or read where it is there")
    parser.add_argument("--floor", type=Path, default=SHIPPED, help="networks to try")
    parser.add_argument("--stt", default="pocketsphinx", choices=("pocketsphinx", "moonshine"))
    order = parser.parse_args()
    settings, floor = load(), Floor(order.floor)
    if order.wav_dir:
        trials = [one for one in own.load(order.wav_dir, order.seed) if one.kind in OVER_AGENT]
    else:
        trials = make(order.trials, order.seed, OVER_AGENT)
    heard = sensed(trials, order.senses, order.stt)
    print(report([Trying(one, settings, floor).run() for one in heard]))


if __name__ == "__main__":
    main()
