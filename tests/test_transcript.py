"""Segments and their file: what may merge (O9), what the checker finds, what a crash leaves."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.segments import Segment, covered_to, may_merge, merge, merged, problems
from actors.speakers import Speakers
from actors.transcript import Transcript, read

sessions = st.sampled_from([None, "A", "B", "C"])


@st.composite
def calls(draw: st.DrawFn) -> list[Segment]:
    """A transcript as it should be: one channel, no hole."""
    found, at = [], 0
    for number in range(draw(st.integers(0, 12))):
        end = at + draw(st.integers(1, 50))
        session = draw(sessions)
        found.append(
            Segment(
                channel=0,
                start=at,
                end=end,
                kind="quiet" if session is None else draw(st.sampled_from(["live", "batch"])),
                text="" if session is None else f"w{number}",
                speaker=draw(st.sampled_from(["caller", "other"])) if session else "caller",
                stt_session=session,
            )
        )
        at = end
    return found


@given(calls())
def test_o9_different_sessions_never_merge_and_the_same_does(call: list[Segment]) -> None:
    joined = merged(call)
    assert problems(joined) == []
    text = [word for segment in joined for word in segment.text.split()]
    assert text == [segment.text for segment in call if segment.text]
    for segment in joined:
        inside = [s for s in call if segment.start <= s.start and s.end <= segment.end]
        assert len({s.stt_session for s in inside if s.stt_session}) <= 1
        assert segment.stt_session == next((s.stt_session for s in inside if s.stt_session), None)
    assert not any(may_merge(a, b) for a, b in itertools.pairwise(joined))
    assert merged(joined) == joined


def test_o9_an_unknown_session_merges_with_any_but_is_no_bridge() -> None:
    def part(start: int, session: str | None) -> Segment:
        return Segment(channel=0, start=start, end=start + 10, kind="live", stt_session=session)

    a, unknown, b = part(0, "A"), part(10, None), part(20, "B")
    assert may_merge(a, unknown)
    assert may_merge(unknown, b)
    assert merge(a, unknown).stt_session == "A"
    assert [s.stt_session for s in merged([a, unknown, b])] == ["A", "B"]


@given(calls(), st.data())
def test_the_checker_finds_what_is_missing_or_twice(
    call: list[Segment], data: st.DataObject
) -> None:
    end = covered_to(call, 0)
    assert problems(call, end) == []
    if not call:
        return
    at = data.draw(st.integers(0, len(call) - 1))
    assert problems([*call[:at], *call[at + 1 :]], end if len(call) > 1 else None) or len(call) == 1
    assert "twice" in problems([*call[: at + 1], call[at], *call[at + 1 :]])[0]
    if len(call) > 1:
        assert problems([call[-1], *call[:-1]])
    assert problems(call, end + 1) == [
        f"channel 0: nothing from sample {end} to the end at {end + 1}"
    ]


@given(calls(), st.data())
def test_a_file_cut_anywhere_is_taken_up_where_it_was_whole(
    tmp_path_factory: pytest.TempPathFactory, call: list[Segment], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("t") / "C.jsonl"
    Transcript(path).add(*call)
    whole = path.read_bytes() if call else b""
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    taken_up = Transcript(path)
    assert taken_up.segments == call[: len(taken_up.segments)]
    rest = call[len(taken_up.segments) :]
    assert taken_up.add(*rest)
    assert read(path) == (call, len(whole), "")


def test_a_disk_that_refuses_is_tried_again_with_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.write_text("in the way")
    transcript = Transcript(folder / "C.jsonl")
    quiet = [Segment(channel=0, start=at, end=at + 5, kind="quiet") for at in (0, 5)]
    assert not transcript.add(quiet[0])
    assert transcript.problem == "File exists"
    folder.unlink()
    assert transcript.add(quiet[1])
    assert read(folder / "C.jsonl")[0] == quiet


def test_o10_names_of_speakers_last_as_long_as_the_session() -> None:
    speakers = Speakers(1)
    speakers.reset("A")
    assert speakers.name("A", "") == "caller 2"
    assert [speakers.name("A", label) for label in ("x", "y", "x")] == [
        "caller 2 #1",
        "caller 2 #2",
        "caller 2 #1",
    ]
    speakers.reset("B")
    assert speakers.name("A", "x") is None
    assert speakers.name("B", "y") == "caller 2 #1"
