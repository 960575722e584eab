"""Where speech begins and ends, from made-up windows; positions in samples of 16 kHz."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.ear import thresholds
from actors.segmenter import (
    DENSE_WINDOWS,
    WINDOW,
    Continued,
    Ended,
    Rose,
    Segmenter,
    Started,
    Thresholds,
    Window,
)
from bus.sections import AudioIn

LOUD = -20.0


def marks(
    probabilities: list[float], level_dbfs: float = LOUD, hangover_ms: float = 96
) -> list[Started | Continued | Ended]:
    segmenter = Segmenter(Thresholds(onset_ms=64, hangover_ms=hangover_ms))
    return [
        mark
        for number, probability in enumerate(probabilities, start=1)
        for mark in segmenter.push(Window(number * WINDOW, probability, level_dbfs))
        if not isinstance(mark, Rose)
    ]


def rises(windows: list[tuple[float, float]]) -> list[int]:
    """(probability, dBFS) of windows in; at which of them (from 1) something rose comes out."""
    segmenter = Segmenter(Thresholds(trial_ms=96))
    return [
        mark.window.end // WINDOW
        for number, (probability, level) in enumerate(windows, start=1)
        for mark in segmenter.push(Window(number * WINDOW, probability, level))
        if isinstance(mark, Rose)
    ]


def test_two_windows_begin_speech_at_the_first_of_them() -> None:
    started = marks([0, 0, 0.9, 0.9])
    assert [mark.onset for mark in started] == [2 * WINDOW]
    assert isinstance(started[0], Started)


def test_one_window_is_a_click_and_quiet_sound_is_no_speech() -> None:
    assert marks([0, 0.9, 0, 0.9, 0]) == []
    assert marks([0.9] * 10, level_dbfs=-80.0) == []


def test_the_end_is_the_last_voiced_sample_not_when_it_was_noticed() -> None:
    *_, ended = marks([0.9] * 4 + [0.0] * 3)
    assert ended == Ended(0, end=4 * WINDOW, voiced=4 * WINDOW)


def test_between_the_thresholds_speech_goes_on_but_does_not_begin() -> None:
    assert marks([0.2] * 20) == []
    assert not [mark for mark in marks([0.9] * 2 + [0.2] * 20) if isinstance(mark, Ended)]


def test_progress_is_told_each_window_at_first_then_every_tenth_of_a_second() -> None:
    told = [mark for mark in marks([0.9] * 22) if isinstance(mark, Continued)]
    ends = [mark.window.end // WINDOW for mark in told]
    assert ends[: DENSE_WINDOWS - 1] == list(range(3, DENSE_WINDOWS + 2))
    assert ends[DENSE_WINDOWS - 1 :] == [11, 14, 17, 20]
    assert all(mark.voiced == mark.window.end and mark.silent == 0 for mark in told)


def test_a_sudden_sound_is_told_by_its_first_window() -> None:
    quiet, loud = (0.0, -60.0), (0.1, -40.0)
    assert rises([quiet, quiet, loud]) == [3]
    assert rises([quiet, quiet, (0.0, -40.0)]) == []  # nothing of a voice in it
    assert rises([quiet, quiet, (0.1, -50.0)]) == []  # 10 dB: not enough
    assert rises([quiet, quiet, (0.6, -54.0)]) == [3]  # a soft voice
    assert rises([quiet, quiet, (0.9, -58.0)]) == []  # softer than anybody is meant to speak


def test_what_was_no_speech_is_the_floor_from_then_on() -> None:
    quiet, hum = (0.0, -60.0), (0.1, -40.0)
    assert rises([quiet, *[hum] * 40]) == [2]
    assert rises([quiet, *[hum] * 5, (0.1, -25.0)]) == [2, 7]
    assert rises([quiet, *[hum] * 5, *[quiet] * 2, hum]) == [2, 9]


def test_a_lull_is_told_at_once_each_time() -> None:
    """96 ms of quiet, off the beat of the reports."""
    quiet = [0.9] * 3 + [0.0] * 4 + [0.9] + [0.0] * 3
    spoken = [0.9] * (2 + DENSE_WINDOWS)
    told = [mark for mark in marks(spoken + quiet, hangover_ms=250) if isinstance(mark, Continued)]
    lulls = [mark.window.end // WINDOW for mark in told if mark.silent == 3 * WINDOW]
    assert lulls == [len(spoken) + 6, len(spoken) + 11]


@given(st.lists(st.sampled_from([0.0, 0.4, 0.9]), max_size=80))
def test_starts_and_ends_take_turns_and_never_overlap(probabilities: list[float]) -> None:
    spans = [mark for mark in marks(probabilities) if not isinstance(mark, Continued)]
    ended = 0
    for number, mark in enumerate(spans):
        if number % 2 == 0:
            assert isinstance(mark, Started)
            assert mark.onset >= ended
        else:
            assert isinstance(mark, Ended)
            assert mark.onset == spans[number - 1].onset <= mark.end
            assert mark.murmur or 0 < mark.voiced <= mark.end - mark.onset
            ended = mark.end


TOGETHER = [(0.7, -40.0 + number * 3 % 7) for number in range(40)]
"""Six people at once, far off: (probability, dBFS) of windows."""
ONE = [(0.95, -20.0 - (0, 2, 4, 7, 11)[number % 5]) for number in range(40)]
QUIET = [(0.0, -70.0)] * 5


def spans(windows: list[tuple[float, float]]) -> list[tuple[int, int, int, bool]]:
    """In windows: onset, end and voiced of each stretch of speech; and whether it was a murmur."""
    segmenter = Segmenter(Thresholds())
    return [
        (mark.onset // WINDOW, mark.end // WINDOW, mark.voiced // WINDOW, mark.murmur)
        for number, (probability, level) in enumerate(windows, start=1)
        for mark in segmenter.push(Window(number * WINDOW, probability, level))
        if isinstance(mark, Ended)
    ]


def test_many_voices_without_a_gap_are_the_background_and_one_voice_above_it_is_heard() -> None:
    assert spans([*QUIET, *TOGETHER]) == [(5, 5, 0, True)]
    assert spans([*QUIET, *TOGETHER, *ONE[:14], *TOGETHER[:10]]) == [
        (5, 5, 0, True),
        (45, 59, 14, False),
    ]


def test_one_voice_is_no_murmur_however_sure_or_monotonous() -> None:
    assert spans([*QUIET, *ONE, *QUIET, *QUIET]) == [(5, 45, 40, False)]
    monotonous = [(0.95, -20.0)] * 40
    assert spans([*QUIET, *monotonous, *QUIET, *QUIET]) == [(5, 45, 40, False)]


def test_a_voice_that_fades_into_a_murmur_ended_where_that_began() -> None:
    ((onset, end, voiced, murmur),) = spans([*QUIET, *ONE, *TOGETHER])
    assert (onset, murmur) == (5, False)
    assert end - onset == voiced
    assert 40 <= end <= 45  # a tenth of the windows may stand out


def test_the_background_is_forgotten_when_it_has_gone() -> None:
    soft = [(0.95, -33.0 - (0, 2, 4, 9, 14)[number % 5]) for number in range(20)]
    assert spans([*QUIET, *TOGETHER, *soft, *QUIET]) == [(5, 5, 0, True)]
    gone = [(0.0, -70.0)] * 60
    assert [one[3] for one in spans([*QUIET, *TOGETHER, *gone, *soft, *QUIET, *QUIET])] == [
        True,
        False,
    ]


def heard_amid(background_dbfs: float, voice_db: float, probability: float) -> list[object]:
    """Half a minute of background, then 320 ms of a voice that much louder; what is told of it."""
    segmenter = Segmenter(Thresholds())
    told: list[object] = []
    levels = [background_dbfs] * 1000 + [background_dbfs + voice_db] * 10 + [background_dbfs] * 10
    for number, level in enumerate(levels, start=1):
        sure = probability if level > background_dbfs else 0.0
        told += segmenter.push(Window(number * WINDOW, sure, level))
    return [mark for mark in told if not isinstance(mark, Rose)]


def test_a_detector_that_is_not_sure_is_believed_what_stands_out() -> None:
    """A narrow voice has a probability of 0.2 to 0.5, in wide noise or without any."""
    started, *_, ended = heard_amid(-50.0, 20.0, 0.3)
    assert isinstance(started, Started)
    assert isinstance(ended, Ended)
    assert started.onset == 1000 * WINDOW
    assert ended.voiced >= 8 * WINDOW
    assert heard_amid(-50.0, 10.0, 0.3) == []  # it hardly stands out
    assert heard_amid(-50.0, 20.0, 0.2) == []  # a door
    assert len(heard_amid(-90.0, 70.0, 0.3)) > 1  # over a telephone, on a line without any noise
    assert heard_amid(-90.0, 30.0, 0.3) == []  # too soft


BEHIND = [(0.8, -40.0 - (0, 1, 2, 3, 4)[number % 5]) for number in range(20)]
"""People far from the telephone."""


def test_a_voice_above_another_is_an_utterance_of_its_own() -> None:
    """It begins where it stands above it, and ends though the other goes on."""
    told: list[tuple[str, int, bool]] = []
    segmenter = Segmenter(Thresholds())
    rising = [(0.9, -34.0), *ONE[:14]]
    for number, (probability, level) in enumerate([*QUIET, *BEHIND, *rising, *BEHIND], start=1):
        for mark in segmenter.push(Window(number * WINDOW, probability, level)):
            if isinstance(mark, Started):
                told.append(("started", mark.onset // WINDOW, False))
            elif isinstance(mark, Ended):
                told.append(("ended", mark.end // WINDOW, mark.masked))
    assert told[:3] == [("started", 5, False), ("ended", 25, True), ("started", 25, False)]
    kind, end, masked = told[3]
    assert (kind, masked) == ("ended", False)
    assert 39 <= end <= 41


def test_voices_above_others_are_looked_for_where_the_settings_say_so() -> None:
    settings = AudioIn(over_ms=320, over_db=0.0)
    made = thresholds(settings)
    assert (made.over_ms, made.over_db) == (320, 0.0)
    segmenter = Segmenter(made)
    windows = [*QUIET, *BEHIND, *ONE, *QUIET, *QUIET]
    told = [segmenter.push(Window(n * WINDOW, *one)) for n, one in enumerate(windows, start=1)]
    assert sum(isinstance(mark, Ended) for marks in told for mark in marks) == 1


def test_who_gets_a_little_louder_is_the_same_and_so_is_who_begins_softly() -> None:
    louder = [(probability, level + 8) for probability, level in BEHIND]
    assert len(spans([*QUIET, *BEHIND, *louder, *QUIET, *QUIET])) == 1
    assert len(spans([*QUIET, *BEHIND[:7], *ONE, *QUIET, *QUIET])) == 1  # 224 ms


def test_two_loud_windows_are_no_voice_above_another() -> None:
    knock = [(0.9, -20.0)] * 2
    assert len(spans([*QUIET, *BEHIND, *knock, *BEHIND, *QUIET, *QUIET])) == 1


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.3, 0.9]), st.integers(-60, -15)), max_size=150))
def test_utterances_never_overlap_however_loud_voices_are(windows: list[tuple[float, int]]) -> None:
    segmenter = Segmenter(Thresholds())
    speaking, ended = None, 0
    for number, (probability, level) in enumerate(windows, start=1):
        for mark in segmenter.push(Window(number * WINDOW, probability, level)):
            if isinstance(mark, Started):
                assert speaking is None
                assert ended <= mark.onset < mark.window.end == number * WINDOW
                speaking = mark.onset
            elif isinstance(mark, Ended):
                assert mark.onset == speaking
                assert mark.murmur or 0 <= mark.voiced <= mark.end - mark.onset
                speaking, ended = None, mark.end
