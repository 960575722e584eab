"""audio_in and stt together, killed in mid-word: every caller sample is recognised once, in order."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.audio_in import AudioInActor
from actors.caller_journal import CallerJournal
from actors.channel import Channel
from actors.doors import Anyone
from actors.segments import Segment, problems
from actors.stream import Kit
from actors.stt import SttActor
from actors.transcript import read
from bus.runtime import Runtime
from bus.sections import AudioIn, Journal
from engines.protocols import EngineError
from schemas import (
    CallClosed,
    CallerPcm,
    CallOpened,
    Event,
    Final,
    LinePcm,
    LineResend,
    SpeechEnded,
    SpeechStarted,
    SttRecovered,
)
from soak.small_engines import Loudness
from tests.counting import Batch, Engine, Session, judged, numbered
from tests.rig import Rig, door_is_free, rig, until

CALL = "C1"
S = 16_000
HEARS: tuple[type[Event], ...] = (
    *(CallerPcm, SpeechStarted, SpeechEnded, LineResend, Final, SttRecovered),
)
OPENED = CallOpened(call=CALL, line="test")


class Caller:
    """The line: quiet, speech whose samples say their numbers, quiet; sends again what is asked for."""

    def __init__(self, agent: Rig, begins: int, ends: int) -> None:
        self._agent, self._begins, self._ends = agent, begins, ends
        self.sent = self._answered = 0

    def sound(self, first: int, end: int) -> bytes:
        """Samples [first, end)."""
        speech = range(max(first, self._begins), max(first, self._begins, min(end, self._ends)))
        before = min(end, self._begins) - first
        quiet = bytes(2 * max(0, before)) if not speech else bytes(2 * (speech[0] - first))
        pcm = quiet + (numbered(speech[0], len(speech)) if speech else b"")
        return pcm.ljust(2 * (end - first), b"\0")

    def say(self, end: int) -> None:
        """In frames of 20 ms."""
        for first in range(self.sent, end, 320):
            pcm = self.sound(first, min(end, first + 320))
            self._agent.publish(LinePcm(call=CALL, first=first, pcm=pcm))
        self.sent = end

    def answer(self) -> None:
        """As ops/line.py does."""
        for asked in self._agent.past(LineResend)[self._answered :]:
            self._answered += 1
            for first in range(asked.first, self.sent, S):
                pcm = self.sound(first, min(self.sent, first + S))
                self._agent.publish(LinePcm(call=CALL, first=first, pcm=pcm, again=True))

    async def heard(self, end: int) -> None:
        """Until audio_in has published all samples before `end`."""

        def there() -> bool:
            self.answer()
            return any(frame.end >= end for frame in self._agent.past(CallerPcm))

        await until(there)


class Pair:
    """audio_in and stt, each with a life of its own; what they share is on disk."""

    def __init__(self, agent: Rig, folder: Path, engine: Engine | None = None) -> None:
        self.agent, self.folder = agent, folder
        self.engine = engine or SpokenOnly()
        self._lives: dict[str, AsyncExitStack] = {}
        self.stt: SttActor | None = None
        self.longest_s = 30.0

    async def start(self, name: str) -> Runtime:
        """A new process, as it were: nothing is remembered but what is on disk."""
        await door_is_free(self.agent, name)
        stack = self._lives[name] = AsyncExitStack()
        actor: AudioInActor | SttActor
        if name == "audio_in":
            kept = CallerJournal(self.folder / "journal", Journal())
            actor = AudioInActor(Loudness(), AudioIn(), kept)
        else:
            kit = Kit(self.engine, Batch(), None, Anyone(), thrown=lambda: 0.0)
            doors = (self.agent.context, self.agent.where)
            actor = self.stt = SttActor(
                self.engine,
                max_utterance_s=self.longest_s,
                kit=kit,
                transcripts=self.folder,
                doors=doors,
            )
            runtime = await stack.enter_async_context(self.agent.running(actor))
            kit.leave = Anyone()
            return runtime
        return await stack.enter_async_context(self.agent.running(actor))

    async def kill(self, name: str) -> None:
        await self._lives.pop(name).aclose()

    async def stop(self) -> None:
        for name in list(self._lives):
            await self.kill(name)


class SpokenSession(Session):
    """Leaves the quiet around the speech out of account: `whole` is about the numbered samples."""

    def finish(self) -> None:
        quiet_before = len(self.pcm) - len(self.pcm.lstrip(b"\0")) & ~1
        spoken = self.pcm[quiet_before:].rstrip(b"\0")
        spoken += b"\0" * (len(spoken) % 2)
        first = self._first + quiet_before // 2
        guess = judged(spoken, self._utterance, first)
        self.said = (first, guess.end)
        self._results.put_nowait(guess)


class SpokenOnly(Engine):
    async def open(self) -> Session:
        self.sessions.append(SpokenSession())
        return self.sessions[-1]


def written(folder: Path) -> list[Segment]:
    segments, _, problem = read(folder / f"{CALL}.jsonl")
    assert problem == ""
    return segments


BEGINS, ENDS = S, 3 * S


@pytest.mark.parametrize(
    "victims", [("audio_in",), ("stt",), ("stt", "audio_in"), ("audio_in", "stt")]
)
async def test_killed_in_mid_word_and_back(tmp_path: Path, victims: tuple[str, ...]) -> None:
    """The caller goes on meanwhile; afterwards the utterance is whole, and has its name."""
    async with asyncio.timeout(40), rig(*HEARS) as agent:
        agent.calls = (OPENED,)
        pair, caller = Pair(agent, tmp_path), Caller(agent, BEGINS, ENDS)
        for name in ("audio_in", "stt"):
            await pair.start(name)
        try:
            caller.say(2 * S)
            await caller.heard(2 * S)
            for name in victims:
                await pair.kill(name)
                caller.say(caller.sent + S // 4)
                await pair.start(name)
            caller.say(5 * S)
            await caller.heard(5 * S)
            final = await agent.heard(Final)
            assert (final.text, final.start, final.end) == ("whole", BEGINS, ENDS)
            assert final.utterance == agent.past(SpeechStarted)[0].onset
            agent.publish(CallClosed(call=CALL, reason="hangup"))
            assert pair.stt is not None
            stt = pair.stt
            await until(lambda: not stt._streams)
            segments = written(tmp_path)
            assert problems(segments, 5 * S) == []
            assert [segment.text for segment in segments if segment.text] == ["whole"]
            if victims[-1] == "stt":  # an in-proc door is not found again once its owner is gone
                assert not list_of(tmp_path / "journal")
        finally:
            await pair.stop()


def list_of(folder: Path) -> list[Path]:
    """Files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_call_that_ended_while_stt_was_away_is_transcribed_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with asyncio.timeout(40), rig(*HEARS) as agent:
        agent.calls = (OPENED,)
        pair, caller = Pair(agent, tmp_path), Caller(agent, BEGINS, ENDS)
        for name in ("audio_in", "stt"):
            await pair.start(name)
        try:
            caller.say(2 * S)
            await caller.heard(2 * S)
            await pair.kill("stt")
            caller.say(5 * S)
            await caller.heard(5 * S)
            await agent.heard(SpeechEnded)
            agent.publish(CallClosed(call=CALL, reason="hangup"))
            agent.calls = ()
            assert list_of(tmp_path / "journal")
            await pair.start("stt")
            await until(lambda: not list_of(tmp_path / "journal"))
            segments = written(tmp_path)
            assert problems(segments, 5 * S) == []
            assert [segment.kind for segment in segments if segment.text] == ["batch"]
        finally:
            await pair.stop()


async def test_speech_cut_for_its_length_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Its first part is in the transcript; nobody says again that it has begun."""
    async with asyncio.timeout(40), rig(*HEARS) as agent:
        agent.calls = (OPENED,)
        pair, caller = Pair(agent, tmp_path), Caller(agent, BEGINS, ENDS)
        pair.longest_s = 1.0
        for name in ("audio_in", "stt"):
            await pair.start(name)
        try:
            caller.say(5 * S // 2)
            await caller.heard(5 * S // 2)
            assert (await agent.heard(Final)).more
            await pair.kill("stt")
            await pair.start("stt")
            caller.say(5 * S)
            await agent.heard(Final, more=False)
            agent.publish(CallClosed(call=CALL, reason="hangup"))
            assert pair.stt is not None
            stt = pair.stt
            await until(lambda: not stt._streams)
            segments = written(tmp_path)
            assert problems(segments, 5 * S) == []
            spoken = [segment for segment in segments if segment.text]
            assert {segment.text for segment in spoken} == {"whole"}
            assert {segment.utterance for segment in spoken} == {spoken[0].utterance}
            assert [segment.more for segment in spoken] == [True] * (len(spoken) - 1) + [False]
        finally:
            await pair.stop()


class Fed:
    """A session that counts the samples it was given, and may die at any feed."""

    def __init__(self) -> None:
        self.open: list[tuple[int, bytes]] = []
        self.dies_in = 10**9
        self.finished: list[tuple[int, int, bytes]] = []

    def _count(self) -> None:
        self.dies_in -= 1
        if self.dies_in < 0:
            raise EngineError("gone")

    def begin(self, utterance: int, first: int) -> None:
        self._count()
        self.open.append((utterance, b""))
        self._first = first

    def feed(self, pcm: bytes) -> None:
        self._count()
        self.open[-1] = (self.open[-1][0], self.open[-1][1] + pcm)

    def finish(self) -> None:
        self._count()
        self.finished.append((self.open[-1][0], self._first, self.open[-1][1]))

    def settle(self) -> None: ...

    def look_again(self) -> bool:
        return False

    def resume(self) -> None: ...


class RejoinMachine(RuleBasedStateMachine):
    """A channel fed with copies, splits and marks; sessions die anywhere; the process does too."""

    @initialize()
    def begin(self) -> None:
        self.written: list[Segment] = []
        self.end = self.onset = 0
        self.speaking = False
        self.masked: set[int] = set()
        self.marks: list[tuple[int, str, int]] = []
        self.restart()

    @rule()
    def restart(self) -> None:
        """kill -9: the transcript and the journal are all there is."""
        self.channel = Channel(0, self.written, preroll=64, longest=2000)
        self.session = Fed()
        self.channel.go_live(self.session, [b""] * len(self.channel.owed))
        at = self.channel.heard_to
        for where, kind, onset in self.marks:
            if where >= at:
                self.deliver(self.channel.heard_to, max(where, self.channel.heard_to))
                self.mark(kind, onset)
        self.deliver(self.channel.heard_to, self.end)

    def deliver(self, first: int, end: int) -> None:
        self.guarded(lambda: self.channel.frame(first, numbered(first, end - first)))

    def mark(self, kind: str, onset: int, masked_at: int | None = None) -> None:
        self.guarded(
            lambda: (
                self.channel.started(onset)
                if kind == "started"
                else self.channel.ended(masked_at=masked_at)
            )
        )

    def guarded(self, work: object) -> None:
        try:
            work()  # type: ignore[operator] # one of the two above
        except EngineError:
            self.channel.session = None

    @rule(samples=st.integers(1, 900), again=st.integers(0, 300))
    def sound(self, samples: int, again: int) -> None:
        first, self.end = max(0, self.end - again), self.end + samples
        self.deliver(first, self.end)

    @rule(late=st.integers(1, 200), masked=st.booleans())
    def speech(self, late: int, masked: bool) -> None:
        """It begins, or ends; because somebody speaks above it, perhaps."""
        kind = "ended" if self.speaking else "started"
        if not self.speaking:
            onset = max(self.onset + 1, self.end - late)
            if onset > self.end:
                return
            self.onset = onset
        self.speaking = not self.speaking
        self.marks.append((self.end, kind, self.onset))
        if masked and kind == "ended":
            self.masked.add(self.onset)
        self.mark(kind, self.onset, self.end - late if masked else None)

    @rule(count=st.integers(0, 3))
    def words(self, count: int) -> None:
        """The session answers in order, with exactly what it was given.

        Of what was drowned out, the end belongs to the next utterance.
        """
        for _ in range(count):
            if not self.session.finished or self.channel.session is None:
                return
            utterance, first, pcm = self.session.finished.pop(0)
            assert pcm == numbered(first, len(pcm) // 2)
            assert self.channel.owed[0].onset == utterance
            began, end = self.channel.owed_ranges()[0]
            assert began == first
            given = first + len(pcm) // 2
            assert end == given or (utterance in self.masked and end < given)
            self.written += self.channel.final(judged(pcm, utterance, first), "S", "")

    @rule(steps=st.integers(0, 6))
    def dies_soon(self, steps: int) -> None:
        self.session.dies_in = steps

    @rule()
    def batch(self) -> None:
        if self.channel.session is None:
            end = self.channel.cut()
            owed = [r for r in self.channel.owed_ranges() if r[1] <= end]
            guess = (
                judged(numbered(owed[0][0], owed[-1][1] - owed[0][0]), 0, owed[0][0])
                if owed
                else None
            )
            self.written += self.channel.batched(end, guess, "B")

    @rule()
    def recovers(self) -> None:
        if self.channel.session is None:
            self.session = Fed()
            sounds = [numbered(first, end - first) for first, end in self.channel.owed_ranges()]
            self.channel.go_live(self.session, sounds)

    @rule()
    def quiet(self) -> None:
        self.written += self.channel.quiet()

    @invariant()
    def each_sample_once(self) -> None:
        if not hasattr(self, "channel"):
            return
        assert problems(self.written) == []
        assert self.channel.heard_to == self.end
        assert self.channel.covered_to == max((s.end for s in self.written), default=0)
        at = self.channel.covered_to
        for first, end in self.channel.owed_ranges():
            assert at <= first <= end <= self.end
            at = end

    def teardown(self) -> None:
        """Nothing that was said is left out: at a hang-up the account closes at the last sample."""
        if not hasattr(self, "channel"):
            return
        self.guarded(self.channel.ended)
        self.channel.session = None
        self.batch()
        while self.channel.owed:
            self.written += self.channel.batched(self.channel.cut(now=True), judged(b"", 0, 0), "B")
        self.written += self.channel.quiet(now=True)
        assert problems(self.written, self.end if self.written else None) == []


RejoinMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRejoinRules = RejoinMachine.TestCase
