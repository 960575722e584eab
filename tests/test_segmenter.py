"""Where speech begins and ends, from made-up windows; positions in samples of 16 kHz."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.segmenter import WINDOW, Continued, Ended, Mark, Segmenter, Started, Thresholds, Window

LOUD = -20.0


def marks(
    probabilities: list[float], level_dbfs: float = LOUD, hangover_ms: float = 96
) -> list[Mark]:
    segmenter = Segmenter(Thresholds(onset_ms=64, hangover_ms=hangover_ms))
    return [
        mark
        for number, probability in enumerate(probabilities, start=1)
        for mark in segmenter.push(Window(number * WINDOW, probability, level_dbfs))
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
    assert marks([0.4] * 20) == []
    assert not [mark for mark in marks([0.9] * 2 + [0.4] * 20) if isinstance(mark, Ended)]


def test_progress_is_told_about_every_tenth_of_a_second() -> None:
    told = [mark for mark in marks([0.9] * 2 + [0.9] * 9) if isinstance(mark, Continued)]
    assert [mark.window.end for mark in told] == [5 * WINDOW, 8 * WINDOW, 11 * WINDOW]
    assert [mark.voiced for mark in told] == [5 * WINDOW, 8 * WINDOW, 11 * WINDOW]
    assert [mark.silent for mark in told] == [0, 0, 0]


def test_a_lull_is_told_at_once_each_time() -> None:
    """96 ms of quiet, off the beat of the reports."""
    quiet = [0.9] * 3 + [0.0] * 4 + [0.9] + [0.0] * 3
    told = [mark for mark in marks(quiet, hangover_ms=250) if isinstance(mark, Continued)]
    lulls = [mark.window.end for mark in told if mark.silent == 3 * WINDOW]
    assert lulls == [6 * WINDOW, 11 * WINDOW]


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
            assert mark.onset == spans[number - 1].onset < mark.end
            assert 0 < mark.voiced <= mark.end - mark.onset
            ended = mark.end
