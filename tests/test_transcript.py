"""Segments and their file: what may merge (O9), what the checker finds, what a crash leaves."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.channel import Channel
from actors.segments import Segment, covered_to, may_merge, merge, merged, problems
from actors.speakers import Speakers
from actors.transcript import Transcript, read
from engines.protocols import Hypothesis, Spoken

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


class Mute:
    """A session that takes what it is given."""

    def begin(self, utterance: int, first: int) -> None: ...

    def feed(self, pcm: bytes) -> None: ...

    def finish(self) -> None: ...

    def settle(self) -> None: ...

    def resume(self) -> None: ...

    def look_again(self) -> bool:
        return False


class PinningMachine(RuleBasedStateMachine):
    """O9: sessions come and go in the middle of speech. Every word says whose it is: it must stay so."""

    @initialize()
    def begin(self) -> None:
        self.channel = Channel(0, (), preroll=40, longest=500)
        self.written: list[Segment] = []
        self.sessions = 0
        self.session = ""
        self.past: list[str] = []
        self.opens()

    @precondition(lambda self: not self.session)
    @rule()
    def opens(self) -> None:
        self.session = self.named()
        self.channel.go_live(Mute(), [b""] * len(self.channel.owed))

    def named(self) -> str:
        self.sessions += 1
        return f"S{self.sessions}"

    @precondition(lambda self: self.session)
    @rule()
    def dies(self) -> None:
        self.channel.session = None
        self.past.append(self.session)
        self.session = ""

    @rule(samples=st.integers(1, 400), spoken=st.booleans())
    def sound(self, samples: int, spoken: bool) -> None:
        if spoken:
            self.channel.started(self.channel.heard_to)
        self.channel.frame(self.channel.heard_to, bytes(2 * samples))

    @rule()
    def pause(self) -> None:
        self.channel.ended()

    @precondition(lambda self: self.session)
    @rule()
    def answers(self) -> None:
        if self.channel.owed and self.channel.awaits(self.channel.owed[0].onset):
            onset = self.channel.owed[0].onset
            guess = Hypothesis(onset, f"{self.session}-live", onset, onset + 1, final=True)
            self.written += self.channel.final(guess, self.session, "")

    @precondition(lambda self: not self.session)
    @rule()
    def batch(self) -> None:
        session, end = self.named(), self.channel.cut()
        owed = [utterance for utterance in self.channel.owed if (utterance.end or end + 1) <= end]
        words = tuple(Spoken(f"{session}-batch", one.start, one.start + 1) for one in owed)
        guess = Hypothesis(0, "", 0, end, final=True, words=words) if owed else None
        self.written += self.channel.batched(end, guess, session)

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def late(self, data: st.DataObject) -> None:
        """What an old session says after all takes no part, and moves nothing."""
        session = data.draw(st.sampled_from(self.past))
        start = max(0, self.channel.covered_to - 1)
        self.written.append(
            Segment(
                channel=0,
                start=start,
                end=start + 1,
                kind="late",
                text=f"{session}-late",
                stt_session=session,
            )
        )

    @invariant()
    def words_stay_with_their_session(self) -> None:
        if not hasattr(self, "written"):
            return
        assert problems(self.written) == []
        for segment in (*self.written, *merged(self.written)):
            assert {word.partition("-")[0] for word in segment.text.split()} <= {
                segment.stt_session
            }
            assert ("late" in segment.text) == (segment.kind == "late")
        said = sorted(word for segment in self.written for word in segment.text.split())
        assert sorted(w for one in merged(self.written) for w in one.text.split()) == said


PinningMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestPinning = PinningMachine.TestCase


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


@settings(deadline=None)  # a disk that others use
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


ONSET, END = 100, 1100
labels = st.sampled_from(["", "a", "b"])


@given(st.lists(st.tuples(st.integers(-50, 1500), labels), max_size=12), st.booleans())
def test_a_segment_for_each_speaker_and_each_word_and_sample_in_one(
    said: list[tuple[int, str]], honest: bool
) -> None:
    """Wherever an engine says that its words lie; `honest`: in order, and in the utterance."""
    if honest:
        ats = sorted({at for at, _ in said if ONSET < at < END})
        said = [(at, who) for at, (_, who) in zip(ats, said, strict=False)]
    channel = Channel(0, (), preroll=0, longest=16_000)
    channel.go_live(Mute(), [])
    channel.frame(0, bytes(2 * ONSET))
    channel.started(ONSET)
    channel.frame(ONSET, bytes(2 * (END - ONSET)))
    channel.ended()
    words = tuple(Spoken(f"w{n}", at, at + 1, who) for n, (at, who) in enumerate(said))
    text = " ".join(word.text for word in words)
    guess = Hypothesis(ONSET, text, ONSET, END, final=True, words=words)
    segments = channel.final(guess, "S", "")
    assert problems(segments, END) == []
    assert " ".join(filter(None, (segment.text for segment in segments))) == text
    spoken = [segment for segment in segments if segment.kind == "live"]
    assert [word.text for segment in spoken for word in segment.words] == text.split()
    assert [segment.more for segment in spoken] == [True] * (len(spoken) - 1) + [False]
    whose = {word.text: segment.speaker for segment in spoken for word in segment.words}
    if honest:
        assert all(whose[word.text] == word.speaker for word in words if word.speaker)
        assert all(a.speaker != b.speaker for a, b in itertools.pairwise(spoken))
