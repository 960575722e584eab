"""The agent's end of a line: time-aligned, gapless where frames are, silent from a cut on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ops.speaker import Speaker

FRAME = np.full(320, 1000, np.int16).tobytes()


def test_frames_in_time_are_gapless_and_start_when_they_came() -> None:
    speaker = Speaker(16_000)
    for number in range(3):
        assert speaker.play(1, FRAME, 500 + 320 * number - (5 if number else 0))
    sound = speaker.recording(2000)
    assert not sound[:500].any()
    assert (sound[500:1460] == 1000).all()
    assert not sound[1460:].any()


def test_a_cut_silences_what_was_not_yet_played_and_refuses_the_turn() -> None:
    speaker = Speaker(16_000)
    speaker.play(7, FRAME, 0)
    speaker.play(7, FRAME, 10)
    assert speaker.cut(7, 400) == 400
    assert not speaker.recording(1000)[400:].any()
    assert not speaker.play(7, FRAME, 410)
    assert speaker.stale == 1
    assert speaker.play(8, FRAME, 500)
    assert (speaker.recording(1000)[500:820] == 1000).all()


def test_a_cut_of_an_earlier_turn_leaves_the_sound_alone() -> None:
    speaker = Speaker(16_000)
    speaker.play(8, FRAME, 0)
    assert speaker.cut(7, 100) == 0
    assert (speaker.recording(320) == 1000).all()


@given(st.lists(st.tuples(st.integers(0, 700), st.booleans()), max_size=40))
def test_played_never_exceeds_what_came_nor_shrinks(steps: list[tuple[int, bool]]) -> None:
    speaker, now, received, last = Speaker(16_000), 0, 0, 0
    for wait, frame in steps:
        now += wait
        if frame:
            speaker.play(1, FRAME, now)
            received += 320
        played = speaker.played(now)
        assert last <= played <= received
        last = played
    assert speaker.played(speaker.end) == received
