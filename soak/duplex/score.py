"""In comes a scene; out goes what the agent did there, judged by what sounded. Pure."""

from __future__ import annotations

import re

import msgspec
import numpy as np

from soak.duplex.levels import (
    HOP,
    RATE,
    WINDOW,
    Flags,
    Sound,
    audible_s,
    audible_span,
    filled,
    first_audible,
    gains_db,
    runs,
)
from soak.duplex.scene import Scene, Turn
from soak.duplex.trials import Kind

LATE_MS = 20.0
QUIET_DB = -20.0
RAMP = RATE // 100
"""A marked frame begins with a ramp of about 10 ms."""
DUCKED_DB = -6.0
INAUDIBLE_DB = -40.0
LOST_S = 0.1
YIELD_S = 2.0
"""An agent that stops later than this after the caller's last sample has not yielded."""
STILL_S = 0.5
"""Of the recording's end, to tell a stopped agent from one who breathes."""
BEFORE_S = 0.3
"""The agent must have been heard this shortly before the onset."""
SOUNDED_S = 0.1
"""A turn heard for less was no answer."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One trial's result; None where a figure does not apply. Positions in seconds of the call.

    `invalid` says why the trial counts for nothing, `failed` what the agent did wrong, `again` why earlier
    tries of it counted for nothing.
    """

    name: str
    kind: Kind
    text: str
    voice: str
    conditions: str
    invalid: str = ""
    failed: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    onset_s: float | None = None
    end_s: float | None = None
    stopped: bool | None = None
    quiet_ms: float | None = None
    stop_ms: float | None = None
    duck_count: int | None = None
    duck_s: float | None = None
    lost_s: float | None = None
    cut_in: bool = False
    answers: int = 0
    response_ms: float | None = None
    words_lost: int | None = None
    words_expected: int = 0
    whole: bool | None = None
    recognised: str = ""
    late_ms: float = 0.0
    folder: str = ""

    @property
    def spared(self) -> bool:
        """Neither stopped nor any word lost: what a backchannel or a noise must leave."""
        return not self.stopped and (self.lost_s or 0.0) < LOST_S


def score(scene: Scene) -> Outcome:
    """Measure the scene and name what went wrong."""
    found = _base(scene)
    if scene.late_ms > LATE_MS:
        return _with(found, invalid=f"the harness was {scene.late_ms:.0f} ms late")
    if scene.deaf:
        return _with(found, invalid=scene.deaf)
    if not scene.trial.over_agent:
        return _own_turn(scene, found)
    turn = _spoken_over(scene)
    if turn is None:
        return _too_early(scene, found)
    if turn.finished and turn.end < scene.end:
        return _with(found, invalid="the agent's answer ended by itself")
    return _over_agent(scene, found, turn)


def _base(scene: Scene) -> Outcome:
    trial, spoken = scene.trial, scene.onset >= 0
    return Outcome(
        name=trial.name,
        kind=trial.kind,
        text=" … ".join(trial.texts),
        voice=trial.voice,
        conditions=trial.conditions,
        onset_s=scene.onset / RATE if spoken else None,
        end_s=scene.end / RATE if spoken else None,
        late_ms=round(scene.late_ms, 1),
    )


def _with(outcome: Outcome, **changes: object) -> Outcome:
    return msgspec.structs.replace(outcome, **changes)


# -- said over the agent ----------------------------------------------------------------------------


def _spoken_over(scene: Scene) -> Turn | None:
    """The turn that was really heard when the trial's sound began."""
    before = [turn for turn in scene.turns if turn.start < scene.onset < turn.end]
    if scene.onset < 0 or not before:
        return None
    heard = scene.agent[max(0, scene.onset - int(BEFORE_S * RATE)) : scene.onset]
    return before[-1] if audible_span(heard) else None


def _too_early(scene: Scene, found: Outcome) -> Outcome:
    """No agent to talk over: it was stopped by less than the trial's sound, or there was none."""
    until = scene.onset if scene.onset >= 0 else len(scene.agent)
    if any(not turn.finished and turn.end < until for turn in scene.turns):
        stopped = scene.trial.kind != "interruption" or None
        return _with(found, failed=("stopped before the onset",), stopped=stopped)
    return _with(found, invalid="the agent was not speaking at the onset")


def _over_agent(scene: Scene, found: Outcome, turn: Turn) -> Outcome:
    played = scene.of(turn)
    gains, known = gains_db(played, turn.would)
    onset = scene.onset - turn.start
    stop = _stop(scene, turn, played)
    ended = turn.end if stop is None else turn.start + stop
    found = _with(
        found,
        stopped=stop is not None,
        quiet_ms=_quiet_ms(gains, known, onset, turn),
        stop_ms=None if stop is None else round((stop - onset) * 1000 / RATE, 1),
        lost_s=_lost_s(gains, known, turn, ended),
        **_later_turns(scene, after=turn.number),
    )
    if scene.trial.kind == "interruption":
        return _with(found, **_words(scene, turn.number), failed=_wrong_interrupted(scene, found))
    ducks = _ducks(gains, known, (ended - turn.start) // HOP)
    found = _with(found, duck_count=len(ducks), duck_s=round(sum(ducks), 3))
    return _with(found, failed=_wrong_spared(found))


def _stop(scene: Scene, turn: Turn, played: Sound) -> int | None:
    """Where the voice fell silent for good, from the turn's start; None when it did not.

    In a natural pause nothing tells when: then the first sample missed counts, or the last frame.
    """
    if turn.finished or turn.end > len(scene.agent) - int(STILL_S * RATE):
        return None
    span = audible_span(played)
    last = span[1] if span else 0
    missed = first_audible(turn.would, last)
    end = turn.end - turn.start
    return max(last, min(end, end if missed is None else missed))


def _quiet_ms(gains: Sound, known: Flags, onset: int, turn: Turn) -> float | None:
    """From the onset until it sounds 20 dB quieter than it would.

    Behind a pause nobody hears when: then the frame that was the first to be ducked, or the last, counts.
    """
    since = np.arange(len(gains)) * HOP >= onset - HOP
    quiet = np.flatnonzero(known & (gains <= QUIET_DB) & since)
    if not len(quiet):
        return None
    found = int(quiet[0]) * HOP
    loud = np.flatnonzero(known[: quiet[0]])
    since_when = int(loud[-1]) * HOP if len(loud) else 0
    hidden = [at for at in (*turn.ducked_at, turn.end - turn.start) if since_when < at < found]
    if hidden and found - since_when > WINDOW:
        found = min(hidden[0] + RAMP, found)
    return round(max(0.0, (found - onset) * 1000 / RATE), 1)


def _lost_s(gains: Sound, known: Flags, turn: Turn, ended: int) -> float:
    """Speech skipped, or played too quietly to be heard, before the end."""
    until = max(0, (ended - turn.start) // HOP - 4)
    muted = np.count_nonzero(known[:until] & (gains[:until] < INAUDIBLE_DB))
    return round(turn.skipped / RATE + float(muted) * HOP / RATE, 3)


def _ducks(gains: Sound, known: Flags, until: int) -> list[float]:
    """Seconds of each stretch in which the voice was attenuated."""
    low = filled(gains, known)[: max(0, until - 4)] < DUCKED_DB
    return [(end - start) * HOP / RATE for start, end in runs(low) if end - start >= 4]


def _later_turns(scene: Scene, after: int) -> dict[str, object]:
    """What sounded of the turns after that one: cut-ins, answers, and how soon the first came."""
    later = [turn for turn in scene.turns if turn.number > after]
    heard = {turn.number: _heard_at(scene, turn) for turn in later}
    begun = [at for at in heard.values() if at is not None]
    last = [
        turn
        for turn in later
        if audible_s(scene.of(turn)[max(0, scene.end - turn.start) :]) >= SOUNDED_S
    ]
    first = [at for turn in last if (at := heard[turn.number]) is not None and at >= scene.end]
    return {
        "cut_in": any(at < scene.end for at in begun),
        "answers": len(last),
        "response_ms": round((first[0] - scene.end) * 1000 / RATE, 1) if first else None,
    }


def _heard_at(scene: Scene, turn: Turn) -> int | None:
    first = first_audible(scene.of(turn), 0)
    return None if first is None else turn.start + first


def _wrong_interrupted(scene: Scene, found: Outcome) -> tuple[str, ...]:
    in_time = found.stop_ms is not None and found.stop_ms <= (
        (scene.end - scene.onset) * 1000 / RATE + YIELD_S * 1000
    )
    return tuple(
        reason
        for reason, wrong in (
            ("did not yield", not in_time),
            ("cut in", found.cut_in),
            ("double answer", found.answers > 1),
            ("not answered", in_time and not found.answers and not found.cut_in),
        )
        if wrong
    )


def _wrong_spared(found: Outcome) -> tuple[str, ...]:
    return tuple(
        reason
        for reason, wrong in (
            ("false stop", found.stopped),
            (f"lost {found.lost_s} s of speech", (found.lost_s or 0.0) >= LOST_S),
            ("answered", found.answers > 0),
        )
        if wrong
    )


# -- a turn of the caller's own ---------------------------------------------------------------------


def _own_turn(scene: Scene, found: Outcome) -> Outcome:
    if scene.onset < 0:
        return _with(found, invalid="the trial's sound was never said")
    found = _with(found, **_later_turns(scene, after=0), **_words(scene, 0))
    double = found.answers > 1
    wrong = {"cut in": found.cut_in, "double answer": double, "not answered": not found.answers}
    if scene.trial.kind == "resumption":
        wrong["answered only a part"] = found.whole is False
    return _with(found, failed=tuple(reason for reason, is_so in wrong.items() if is_so))


# -- words --------------------------------------------------------------------------------------------


def _words(scene: Scene, after: int) -> dict[str, object]:
    """The first two words expected that are missing, and whether every part was understood."""
    texts = [text for number, text in sorted(scene.asked.items()) if number > after]
    understood = _plain(" ".join(texts))
    parts = [_plain(known) for known in scene.trial.known if known]
    expected = parts[0][:2] if parts else []
    return {
        "recognised": " / ".join(texts),
        "words_expected": len(expected),
        "words_lost": sum(word not in understood[:4] for word in expected) if expected else None,
        "whole": all(_share(part, _plain(texts[-1] if texts else "")) >= 0.5 for part in parts)
        if len(parts) > 1
        else None,
    }


def _plain(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def _share(part: list[str], among: list[str]) -> float:
    return sum(word in among for word in part) / max(len(part), 1)
