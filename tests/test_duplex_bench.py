"""In come synthetic recordings of which the truth is known; checked is how they are scored."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from bus.endpoints import Endpoints
from bus.errors import BargeinError
from bus.recording import Recorder
from ops import wav
from schemas import AgentPcm, Final, Speech, SpeechEnded, SttDegraded
from soak import caller_set
from soak.duplex import own, plots, trials
from soak.duplex.caller import PlacingSpeaker
from soak.duplex.levels import RATE, Sound
from soak.duplex.scene import Scene, Turn, deaf, turns_of
from soak.duplex.score import Outcome, score
from soak.duplex.sounds import prepare
from soak.duplex.totals import bars, doubtful, totals
from soak.duplex.trials import Kind, Trial
from tests.tape import BASE, CALL, Tape

CALL_S = 12
START, ONSET, END = 2 * RATE, 5 * RATE, 6 * RATE
DUCK = 10 ** (-26 / 20)


def voice(seconds: float, seed: int = 1) -> Sound:
    """Noise in syllables of 180 ms with gaps, and a pause from 700 to 930 ms of each second."""
    time = np.arange(int(seconds * RATE)) / RATE
    talks = (time % 0.25 < 0.18) & (time % 1.0 < 0.7) | (time % 1.0 > 0.93)
    return np.asarray(np.random.default_rng(seed).standard_normal(len(time)) * 0.1 * talks)


def ms(milliseconds: float) -> int:
    return int(milliseconds * RATE / 1000)


class Stage:
    """A call with one long answer, changed by each test."""

    def __init__(self, kind: Kind) -> None:
        self.trial = Trial(name="000", kind=kind, parts=("x",), texts=("a b",), known=("a b",))
        self.agent = np.zeros(CALL_S * RATE)
        self.would = voice(CALL_S)
        self.turns: list[Turn] = []
        self.asked: dict[int, str] = {}

    def speaks(self, until: int = CALL_S * RATE, finished: bool = False) -> Stage:
        self.agent[START:until] = self.would[: until - START]
        self.turns.append(Turn(1, START, until, self.would, finished=finished))
        return self

    def ducked(self, since: int, until: int) -> Stage:
        self.agent[since:until] *= DUCK
        return self

    def answers(self, number: int, since: int, until: int) -> Stage:
        said = voice((until - since) / RATE, seed=number)
        self.agent[since:until] = said
        self.turns.append(Turn(number, since, until, said, finished=True))
        self.asked[number] = "a b"
        return self

    def score(self, **changes: Any) -> Outcome:
        scene = Scene(
            trial=self.trial,
            caller=np.zeros(CALL_S * RATE),
            agent=self.agent,
            began=ONSET,
            onset=ONSET,
            end=END,
            turns=self.turns,
            asked=self.asked,
        )
        return score(replace(scene, **changes))


@pytest.mark.parametrize("stop_ms", [130.0, 430.0, 655.0])
def test_duck_and_stop_are_measured_to_10_ms(stop_ms: float) -> None:
    stage = Stage("interruption").speaks(ONSET + ms(stop_ms)).ducked(ONSET + ms(90), CALL_S * RATE)
    found = stage.answers(2, END + ms(800), END + ms(2800)).score()
    assert found.failed == ()
    assert found.quiet_ms == pytest.approx(90, abs=10)
    assert found.stop_ms == pytest.approx(stop_ms, abs=10)
    assert found.response_ms == pytest.approx(800, abs=10)
    assert (found.answers, found.words_lost) == (1, 0)


def test_a_stop_in_a_pause_is_not_counted_too_early() -> None:
    """The voice pauses from 700 ms of each second on; it was cut at 900 ms and missed at 930 ms."""
    found = Stage("interruption").speaks(ONSET + ms(900)).score()
    assert found.stop_ms == pytest.approx(900, abs=10)
    assert found.quiet_ms == pytest.approx(900, abs=25)


def test_an_agent_that_goes_on_has_not_yielded() -> None:
    found = Stage("interruption").speaks().score()
    assert (found.stopped, found.stop_ms, found.quiet_ms) == (False, None, None)
    assert found.failed == ("did not yield",)


def test_a_stop_long_after_the_caller_is_no_yield() -> None:
    found = Stage("interruption").speaks(END + ms(2500)).score()
    assert "did not yield" in found.failed


def test_two_answers_are_one_too_many() -> None:
    stage = Stage("interruption").speaks(ONSET + ms(200))
    found = stage.answers(2, END + ms(500), END + ms(1500)).answers(
        3, END + ms(2000), END + ms(3000)
    )
    assert found.score().failed == ("double answer",)


def test_an_answer_into_the_callers_words_is_a_cut_in() -> None:
    found = Stage("interruption").speaks(ONSET + ms(200)).answers(2, END - ms(300), END + ms(50))
    assert found.score().failed == ("cut in",)


def test_a_false_duck_is_tolerated_and_timed() -> None:
    found = Stage("backchannel").speaks().ducked(ONSET + ms(100), ONSET + ms(650)).score()
    assert found.failed == ()
    assert found.spared
    assert found.duck_count == 1
    assert found.duck_s == pytest.approx(0.55, abs=0.03)


def test_a_false_stop_fails_a_backchannel() -> None:
    found = Stage("backchannel").speaks(ONSET + ms(400)).ducked(ONSET + ms(100), CALL_S * RATE)
    outcome = found.score()
    assert outcome.failed == ("false stop",)
    assert not outcome.spared
    assert outcome.duck_count == 1


def test_words_skipped_and_words_muted_are_lost() -> None:
    stage = Stage("noise").speaks()
    stage.turns[0] = Turn(1, START, CALL_S * RATE, stage.would, skipped=ms(300))
    assert stage.score().lost_s == pytest.approx(0.3)
    muted = Stage("noise").speaks()
    muted.agent[ONSET : ONSET + ms(1000)] = 0
    assert muted.score().lost_s == pytest.approx(0.61, abs=0.08)
    assert muted.score().failed[0].startswith("lost 0.")


def test_an_early_stop_fails_and_a_silent_agent_is_no_trial() -> None:
    assert Stage("noise").speaks(ONSET - ms(900)).score().failed == ("stopped before the onset",)
    done = Stage("noise").speaks(ONSET - ms(900), finished=True)
    assert "not speaking" in done.score().invalid
    assert "not speaking" in Stage("noise").score(onset=-1).invalid


def test_a_late_harness_makes_no_trial() -> None:
    assert "21 ms late" in Stage("noise").speaks().score(late_ms=21.0).invalid


def test_a_call_without_a_recogniser_makes_no_trial() -> None:
    tape = Tape()
    tape.say(1000, "audio_in", SpeechEnded(call=CALL, onset=800, end=1600, voiced=800))
    tape.say(2900, "stt", Final(call=CALL, utterance=800, text="a b", start=0, end=1600))
    assert deaf(tape.records) == ""
    tape.say(3100, "stt", Final(call=CALL, utterance=800, text="a b", start=0, end=1600))
    assert deaf(tape.records) == "words came 2.1 s after speech"
    gone = SttDegraded(call=CALL, batch_mode=True, batch_interval_s=30.0, why="it died")
    tape.say(3200, "stt", gone)
    assert "it died" in deaf(tape.records)
    assert "it died" in Stage("noise").speaks().score(deaf=deaf(tape.records)).invalid


def test_a_pause_is_waited_for_and_a_resumption_answered_once() -> None:
    good = Stage("pause").answers(2, END + ms(700), END + ms(2000)).score()
    assert good.failed == ()
    assert good.response_ms == pytest.approx(700, abs=10)
    hasty = Stage("pause").answers(2, ONSET - ms(300), ONSET + ms(100))
    assert hasty.answers(3, END + ms(700), END + ms(2000)).score().failed == ("cut in",)
    assert Stage("pause").score().failed == ("not answered",)
    twice = Stage("resumption").answers(2, END + ms(400), END + ms(900))
    assert "double answer" in twice.answers(3, END + ms(1500), END + ms(2500)).score().failed


def test_a_resumption_must_be_understood_as_a_whole() -> None:
    stage = Stage("resumption").answers(2, END + ms(400), END + ms(900))
    stage.trial = msgspec.structs.replace(stage.trial, known=("what time is it", "in paris"))
    stage.asked = {2: "in paris"}
    assert stage.score().failed == ("answered only a part",)
    stage.asked = {2: "what time is it in paris"}
    assert stage.score().failed == ()


def test_turns_are_laid_out_where_the_line_placed_their_frames() -> None:
    """The 11th frame came 50 ms late and the 21st never: what was meant moves along with them."""
    tape = Tape()
    said = (voice(1.0) * 32767).astype(np.int16)
    frames = [said[at : at + 320].tobytes() for at in range(0, RATE, 320)]
    for number, pcm in enumerate(frames):
        sent = AgentPcm(call=CALL, turn=BASE, first=number * 320, pcm=pcm, ducked=number > 30)
        tape.say(number * 20, "playback", sent, lane="media")
    tape.say(0, "tts", Speech(call=CALL, turn=BASE, pcm=said.tobytes()), lane="media")
    speaker = PlacingSpeaker(RATE)
    for number, pcm in enumerate(frames):
        if number != 20:
            late = 50 * (number >= 10) - 20 * (number > 20)
            speaker.play(BASE, pcm, RATE + ms(number * 20 + late))
    (turn,) = turns_of(tape.finished(), speaker.placed, 4 * RATE)
    played = speaker.recording(4 * RATE)[turn.start : turn.end] / 32768.0
    assert (turn.start, turn.end, turn.finished) == (RATE, 2 * RATE + ms(30), False)
    assert np.array_equal(turn.would[: len(played)], played)
    assert turn.skipped == 320
    assert turn.ducked_at == (ms(31 * 20 + 30),)


# -- totals -------------------------------------------------------------------------------------------


def test_totals_say_what_the_bars_need() -> None:
    good = Stage("interruption").speaks(ONSET + ms(300)).ducked(ONSET + ms(80), CALL_S * RATE)
    outcomes = [
        good.answers(2, END + ms(800), END + ms(2800)).score(),
        Stage("interruption").speaks().score(),
        Stage("backchannel").speaks().score(),
        Stage("noise").speaks(ONSET + ms(400)).score(),
        Stage("noise").speaks().score(late_ms=90.0),
    ]
    total = totals(outcomes)
    assert (total.yield_rate, total.selectivity, total.invalid) == (0.5, 0.5, 1)
    assert total.stop_ms.p50 == pytest.approx(300, abs=10)
    verdicts = {bar.name: bar.met for bar in bars(total)}
    assert verdicts["onset to silence, p50"] is True
    assert verdicts["yield rate"] is False
    assert totals([]).yield_rate is None
    again = msgspec.structs.replace(outcomes[1], again=("too late", "too late"))
    assert totals([*outcomes, again]).again == {"too late": 2}
    assert doubtful(total).startswith("20% of the trials are invalid")
    assert doubtful(totals(outcomes[:4])) == ""


def test_pictures_are_drawn_even_of_nothing(tmp_path: Path) -> None:
    plots.draw_latencies(tmp_path / "cdf.png", [])
    assert plots.draw_examples(tmp_path / "page.png", []) == 0
    assert (tmp_path / "cdf.png").stat().st_size > 1000


# -- making trials ------------------------------------------------------------------------------------


def test_the_same_seed_makes_the_same_trials() -> None:
    assert trials.make(60, 7) == trials.make(60, 7)
    assert trials.make(60, 7) != trials.make(60, 8)
    first, again = (prepare(trials.make(3, 7)[0]) for _ in range(2))
    assert np.array_equal(first.sound, again.sound)


def test_two_hundred_trials_cover_what_was_promised() -> None:
    made = trials.make(200, 1)
    assert len(made) == len({trial.name for trial in made}) == 200
    texts = {kind: {t.texts for t in made if t.kind == kind} for kind in trials.KINDS}
    assert len(texts["interruption"]) >= 40
    assert len(texts["backchannel"]) >= 12
    assert {("cough",), ("door knock",), ("keyboard",), ("music",), ("babble",)} <= texts["noise"]
    assert all(300 <= trial.gap_ms <= 900 for trial in made if trial.kind == "pause")
    assert {trial.voice for trial in made} >= {"slt", "awb", "rms", "kal16"}


@pytest.mark.parametrize("kind", trials.KINDS)
def test_a_prepared_trial_has_its_onset_where_it_can_be_heard(kind: Kind) -> None:
    for trial in trials.make(6, 3, [kind]):
        made = prepare(trial)
        assert 0 <= made.onset < made.end <= len(made.sound), trial
        before = made.sound[max(0, made.onset - ms(40)) : max(1, made.onset - ms(5))] / 32768.0
        after = made.sound[made.onset : made.end] / 32768.0
        assert np.std(after) > 4 * np.std(before), trial


def test_a_telephone_stays_one_all_the_call() -> None:
    """Its question, its words and what is behind them are as narrow."""
    for trial in (trial for trial in trials.make(60, 4, trials.OVER_AGENT) if trial.telephone):
        made = prepare(trial)
        for sound in filter(len, (made.request, made.sound, made.bed)):
            power = np.abs(np.fft.rfft(sound / 32768.0)) ** 2
            outside = power[int(len(sound) * 3600 / RATE) :].sum() / power.sum()
            assert outside < 1e-4, trial


def test_shipped_clips_are_what_the_manifest_says() -> None:
    listed = caller_set.load(trials.DUPLEX)
    assert {clip.file for clip in listed} == {path.name for path in trials.DUPLEX.glob("*.wav")}
    for clip in listed:
        sound = np.frombuffer(clip.pcm(), "<i2")
        assert caller_set.audible(sound) == (clip.onset_sample, clip.end_sample), clip.file
    folder = caller_set.FOLDER.rglob("*")
    assert sum(path.stat().st_size for path in folder if path.is_file()) < 8_000_000


@pytest.mark.parametrize("text", ["", "cough", "noise,laughter"])
def test_unknown_kinds_are_refused(text: str) -> None:
    with pytest.raises(trials.BadTrials, match="use some of"):
        trials.of_kinds(text)


# -- somebody's own recordings ------------------------------------------------------------------------


def _folder(path: Path, *rows: dict[str, Any]) -> Path:
    sound = np.concatenate([np.zeros(2 * 8_000), np.full(8_000, 3_000)]).astype(np.int16)
    wav.write(path / "mine.wav", sound, 8_000)
    (path / "not.wav").write_bytes(b"RIFF, not really")
    (path / "manifest.json").write_text(json.dumps(rows))
    return path


def test_own_recordings_become_trials_at_their_own_rate(tmp_path: Path) -> None:
    mine = {"file": "mine.wav", "kind": "interruption", "onset_sample": 16_000, "text": "stop it"}
    (trial,) = own.load(_folder(tmp_path, mine), seed=1)
    assert (trial.onset, trial.kind, trial.known) == (2 * RATE, "interruption", ("stop it",))
    made = prepare(trial)
    assert made.onset == RATE, "of two seconds before the onset one is kept"
    assert made.end == pytest.approx(2 * RATE, abs=ms(20))


def test_a_csv_manifest_does_as_well(tmp_path: Path) -> None:
    _folder(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerows([("file", "kind", "onset_s"), ("mine.wav", "noise", "2.0")])
    assert own.load(tmp_path, seed=1)[0].onset == 2 * RATE


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"file": "mine.wav", "kind": "sneeze", "onset_s": 1}, "unknown kind 'sneeze'; use"),
        ({"file": "mine.wav", "kind": "noise", "onset_s": 3.5}, r"the onset \(3.500 s\) lies outs"),
        ({"file": "mine.wav", "kind": "noise", "onset_s": -1}, "lies outside"),
        ({"file": "mine.wav", "kind": "noise", "onset_s": 2, "end_s": 1}, "lies before the onset"),
        ({"file": "mine.wav", "kind": "noise", "onset_s": "two"}, "is no number"),
        ({"file": "mine.wav", "kind": "noise"}, "neither onset_s nor onset_sample"),
        ({"kind": "noise", "onset_s": 1}, "names no file"),
        ({"file": "not.wav", "kind": "noise", "onset_s": 1}, "not a PCM WAV file"),
        ({"file": "gone.wav", "kind": "noise", "onset_s": 1}, "no such file"),
    ],
)
def test_a_wrong_row_is_named_in_one_line(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    with pytest.raises(BargeinError, match=says) as error:
        own.load(_folder(tmp_path, row), seed=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"), [("[", "can't be read"), ("{}", "not a list"), ("[]", "no")]
)
def test_a_wrong_manifest_is_named_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    _folder(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(own.BadManifest, match=says):
        own.load(tmp_path, seed=1)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(own.BadManifest, match="no manifest"):
        own.load(tmp_path, seed=1)


def test_a_call_without_a_fleet_leaves_nothing_open(tmp_path: Path) -> None:
    """A recorder that was never started is stopped all the same: its sockets would hang the context."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    Recorder(context, Endpoints(tmp_path), tmp_path / "trace.msgpack").stop()
    context.term()
