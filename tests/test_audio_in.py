"""audio_in on in-proc sockets: 16 kHz with true positions, where speech lies, and a line that is gone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from actors.aside import Aside
from actors.audio_in import AudioInActor
from actors.caller_journal import CallerJournal
from actors.ear import To16k, telling
from actors.segmenter import Ended, Window
from bus.asking import Asker
from bus.journal import Disk
from bus.journal import Journal as Files
from bus.sections import AudioIn, Journal
from schemas import (
    AskReplay,
    CallClosed,
    CallerPcm,
    CallOpened,
    Done,
    Event,
    JournalDamaged,
    JournalState,
    LineConfirmed,
    LineLost,
    LinePcm,
    LineResend,
    Replayed,
    SpeechContinued,
    SpeechEnded,
    SpeechPaused,
    SpeechStarted,
    Transcribed,
)
from soak.small_engines import Loudness
from tests.rig import Rig, door_is_free, rig, until

Sound = npt.NDArray[np.int16]
CALL = "C1"
WINDOW = 512
HEARS: tuple[type[Event], ...] = (
    *(CallerPcm, SpeechStarted, SpeechContinued, SpeechEnded),
    *(LineLost, LineResend, LineConfirmed, JournalState, JournalDamaged),
)


def tone(samples: int, rate: int = 16_000, level: int = 8000) -> Sound:
    return (level * np.sin(2 * np.pi * 440 * np.arange(samples) / rate)).astype(np.int16)


def line(
    agent: Rig, sound: Sound, rate: int = 16_000, first: int = 0, ms: int = 20, again: bool = False
) -> None:
    """As a line sends it: a frame every `ms`. `again`: because it was asked."""
    size = rate * ms // 1000
    for at in range(0, len(sound), size):
        pcm = sound[at : at + size].tobytes()
        agent.publish(LinePcm(call=CALL, first=first + at, rate=rate, pcm=pcm, again=again))


async def up_to(agent: Rig, end: int) -> list[CallerPcm]:
    """All frames, once sample `end` - 1 has come out."""
    await until(lambda: any(frame.end >= end for frame in agent.past(CallerPcm)))
    return agent.past(CallerPcm)


def joined(frames: list[CallerPcm]) -> Sound:
    """The sound; its positions must have no hole."""
    for before, after in itertools.pairwise(frames):
        assert after.first == before.end
    return np.concatenate([np.frombuffer(frame.pcm, np.int16) for frame in frames])


def actor(line_lost_ms: int = 5000, folder: Path | None = None, **journal: Any) -> AudioInActor:
    kept = CallerJournal(folder, Journal(**journal))
    return AudioInActor(Loudness(), AudioIn(line_lost_ms=line_lost_ms), kept)


def segments(folder: Path) -> list[Path]:
    """The journal's files."""
    return list(folder.rglob("*.seg"))


async def asked(agent: Rig, request: Event) -> Event:
    """What the door answers."""
    asker = Asker(agent.context, agent.where, "audio_in")
    try:
        return await asker.ask(request)
    finally:
        asker.close()


async def replayed(agent: Rig, first: int) -> Event:
    """The answer to a question for sound."""
    return await asked(agent, AskReplay(call=CALL, first=first))


async def test_a_line_at_16_khz_passes_untouched() -> None:
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor()):
        sound = tone(3200)
        line(agent, sound)
        frames = await up_to(agent, 3200)
        assert np.array_equal(joined(frames), sound)
        assert {frame.rate for frame in frames} == {16_000}


async def test_a_line_at_44_1_khz_is_resampled_without_moving_it() -> None:
    sound = np.concatenate([np.zeros(22_050, np.int16), tone(22_050, 44_100)])
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor()):
        line(agent, sound, rate=44_100)
        out = joined(await up_to(agent, 15_900)).astype(float)
        begins = int(np.argmax(np.abs(out) > 1000))
        assert 7990 < begins < 8032  # sinc_fastest lags 1.2 ms: 19 samples
        assert abs(out[8200:].std() / (8000 / np.sqrt(2)) - 1) < 0.02


async def test_a_hole_stays_one_and_a_duplicate_is_skipped() -> None:
    """Silence in its place would pass for what the caller said."""
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor()):
        sound = tone(1600)
        line(agent, sound[:640])
        line(agent, sound[320:640], first=320)
        line(agent, sound[960:], first=960)
        assert (await agent.heard(LineResend)).first == 640
        line(agent, sound[960:], first=960, again=True)  # all that this line has left
        frames = await up_to(agent, 1600)
        before = [frame for frame in frames if frame.first < 640]
        assert np.array_equal(joined(before), sound[:640])
        assert frames[len(before)].first == 960
        assert np.array_equal(joined(frames[len(before) :]), sound[960:])


async def test_after_a_restart_positions_go_on_where_the_line_is() -> None:
    """Not an hour of silence, in one frame that nobody takes."""
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor()):
        hour = 3600 * 8000
        line(agent, tone(800, 8000), rate=8000, first=hour)
        frames = await up_to(agent, 2 * hour + 1500)
        assert frames[0].first == 2 * hour


async def test_much_sound_at_once_comes_in_frames_that_the_bus_takes() -> None:
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor()):
        line(agent, tone(4 * 16_000), ms=3000)
        frames = await up_to(agent, 4 * 16_000)
        assert len(joined(frames)) == 4 * 16_000
        assert max(frame.samples for frame in frames) <= 16_000


async def test_the_beginning_of_a_call_is_asked_for_though_nothing_is_kept_of_it() -> None:
    """audio_in was being restarted when the call began."""
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor()):
        sound = tone(16_000)
        line(agent, sound[9600:], first=9600)
        assert (await agent.heard(LineResend)).first == 0
        line(agent, sound, ms=1000, again=True)
        assert np.array_equal(joined(await up_to(agent, 16_000)), sound)


async def test_a_position_beyond_belief_is_not_taken() -> None:
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor()):
        line(agent, tone(320))
        line(agent, tone(320), first=1 << 40)
        line(agent, tone(320), first=320)
        assert len(joined(await up_to(agent, 640))) == 640


class Stumbling(Loudness):
    """It raises at the third push of a stream."""

    pushes = 0

    def open(self) -> Stumbling:
        return Stumbling()

    def push(self, pcm: bytes) -> list[float]:
        self.pushes += 1
        if self.pushes == 3:
            raise RuntimeError("a bug of its own")
        return super().push(pcm)


async def test_a_detector_that_raises_moves_no_position() -> None:
    quiet, loud = np.zeros(10 * WINDOW, np.int16), tone(20 * WINDOW)
    stumbling = AudioInActor(Stumbling(), AudioIn(), CallerJournal())
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(stumbling):
        line(agent, np.concatenate([quiet, loud, quiet]))
        ended = await agent.heard(SpeechEnded)
        assert agent.past(SpeechStarted)[0].onset == 10 * WINDOW
        assert 29 <= ended.end / WINDOW <= 31


async def test_where_speech_begins_goes_on_and_ends() -> None:
    quiet, loud = np.zeros(10 * WINDOW, np.int16), tone(20 * WINDOW)
    sound = np.concatenate([quiet, loud, quiet])
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor()):
        line(agent, sound, first=32 * WINDOW, again=True)
        ended = await agent.heard(SpeechEnded)
        start = 42 * WINDOW
        assert agent.past(SpeechStarted)[0].onset == start
        assert -20 < agent.past(SpeechStarted)[0].level_dbfs < -10
        windows = (ended.end - start) / WINDOW  # the pitch that is put back may ring for one more
        assert (ended.onset, ended.voiced) == (start, ended.end - start)
        assert windows in (20, 21)
        assert [event.silent for event in agent.past(SpeechContinued)][:6] == [0] * 6


@pytest.mark.parametrize("windows", [20, 60], ids=["short", "too long to tell"])
async def test_the_sound_of_a_short_utterance_is_judged_when_it_ends(windows: int) -> None:
    """400 ms before its onset and 250 ms behind its end are seen as well."""
    quiet, loud = np.zeros(30 * WINDOW, np.int16), tone(windows * WINDOW)
    sound, seen = np.concatenate([quiet, loud, quiet]), list[Sound]()

    def floor(pcm: bytes) -> float:
        seen.append(np.frombuffer(pcm, np.int16))
        return 2.5

    judging = AudioInActor(Loudness(), AudioIn(), CallerJournal(), Aside(floor))
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(judging):
        line(agent, sound)
        ended = await agent.heard(SpeechEnded)
    if windows == 60:  # its even level was asked about while it lasted; its end tells nothing more
        [asked] = [event for event in agent.past(SpeechContinued) if event.floor]
        assert (asked.floor, ended.floor, [len(pcm) for pcm in seen]) == (2.5, 0.0, [32_000])
        assert asked.voiced >= 1300 * 16
        return
    assert ended.floor == 2.5
    [pcm] = seen
    assert np.array_equal(pcm, sound[ended.onset - 6400 : ended.end + 4000])


@dataclass
class Listener:
    """Remembers what it was asked."""

    loaded: bool = False
    seen: list[Sound] = field(default_factory=list)

    def load(self) -> None:
        self.loaded = True

    def __call__(self, pcm: bytes) -> float:
        assert self.loaded
        self.seen.append(np.frombuffer(pcm, np.int16))
        return -1.5


@pytest.mark.parametrize("windows", [20, 300], ids=["0.6 s", "9.6 s"])
async def test_each_pause_is_listened_to_once_with_what_was_said_before(windows: int) -> None:
    """400 ms before its onset too, 8 s at most; nothing else waits for it."""
    quiet, loud = np.zeros(30 * WINDOW, np.int16), tone(windows * WINDOW)
    sound, listener = np.concatenate([quiet, loud, quiet]), Listener()
    listening = AudioInActor(Loudness(), AudioIn(), CallerJournal(), listener=listener)
    async with asyncio.timeout(40), rig(*HEARS, SpeechPaused) as agent, agent.running(listening):
        line(agent, sound)
        paused = await agent.heard(SpeechPaused)
        ended = await agent.heard(SpeechEnded)
    assert (paused.onset, paused.voiced, paused.done) == (ended.onset, ended.voiced, -1.5)
    assert paused.end - ended.end == 3 * WINDOW
    [pcm] = listener.seen
    first = max(paused.onset - 6400, paused.end - 8 * 16_000)
    assert np.array_equal(pcm, sound[first : paused.end])


@dataclass
class Slow:
    """Networks that answer when they are told to."""

    owed: list[Callable[[float], None]] = field(default_factory=list)

    def __call__(self, pcm: bytes, then: Callable[[float], None]) -> None:
        self.owed.append(then)

    def close(self) -> None: ...


async def test_what_comes_behind_a_question_waits_for_its_answer_and_sound_does_not() -> None:
    slow, said = Slow(), np.concatenate([tone(20 * WINDOW), np.zeros(20 * WINDOW, np.int16)])
    judging = AudioInActor(Loudness(), AudioIn(), CallerJournal(), slow)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(judging):
        line(agent, np.concatenate([said, said]))
        await agent.heard(CallerPcm, 80 * WINDOW // 320)
        await until(lambda: len(slow.owed) == 2)
        assert len(agent.past(SpeechStarted)) == 1
        assert not agent.past(SpeechEnded)
        slow.owed[1](-1.5)
        assert not agent.past(SpeechEnded)
        slow.owed[0](2.5)
        await agent.heard(SpeechEnded, 2)
        kinds = SpeechStarted, SpeechEnded
        told = [event for event, _ in agent.events if isinstance(event, kinds)]
        assert [type(event) for event in told] == [*kinds, *kinds]
        assert [event.floor for event in agent.past(SpeechEnded)] == [2.5, -1.5]


@pytest.mark.parametrize(
    ("ended", "stretch"),
    [
        (Ended(32_000, 40_000, 8000), (32_000, 40_000)),
        (Ended(32_000, 40_000, 0), None),
        (Ended(32_000, 58_000, 24_001), None),  # more voice than tells anything
        (Ended(32_000, 60_000, 8000), None),  # longer than the networks see
        (
            Ended(32_000, 32_000, 0, murmur=True),
            (64_000 - 25_600, 64_000),
        ),  # its last, and 400 ms before
    ],
)
def test_what_one_can_tell_by_whether_it_was_meant(
    ended: Ended, stretch: tuple[int, int] | None
) -> None:
    assert telling(ended, Window(64_000, 0.0, -60.0), 1500) == stretch


async def test_frames_tell_of_speech_from_100_ms_behind_it_on_however_soon_it_was_told() -> None:
    """So a replay says the same, whatever the networks took."""
    sound = np.concatenate([np.zeros(20 * WINDOW, np.int16), tone(40 * WINDOW)])
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor()):
        line(agent, sound)
        frames = await up_to(agent, len(sound))
        [started] = agent.past(SpeechStarted)
    tell = [frame.first for frame in frames if frame.onset == started.onset]
    known = started.onset + 2 * WINDOW
    assert known + 1600 <= tell[0] < known + 1600 + 320
    assert tell == [frame.first for frame in frames if frame.first >= tell[0]]


async def test_a_call_that_closes_is_told_all_without_the_odds_that_are_missing() -> None:
    slow, said = Slow(), np.concatenate([tone(20 * WINDOW), np.zeros(20 * WINDOW, np.int16)])
    judging = AudioInActor(Loudness(), AudioIn(), CallerJournal(), slow)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(judging):
        line(agent, said)
        await until(lambda: len(slow.owed) == 1)
        agent.publish(CallClosed(call="C1", reason="hung up"))
        assert (await agent.heard(SpeechEnded)).floor == 0.0
        slow.owed[0](2.5)  # too late
    assert len(agent.past(SpeechEnded)) == 1


async def test_channels_are_heard_apart() -> None:
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor()):
        for channel, level in ((0, 0), (1, 8000)):
            pcm = tone(4 * WINDOW, level=level).tobytes()
            agent.publish(LinePcm(call=CALL, channel=channel, pcm=pcm))
        assert (await agent.heard(SpeechStarted)).channel == 1
        assert len(agent.past(SpeechStarted)) == 1


async def test_a_line_that_falls_silent_is_lost_once() -> None:
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor(line_lost_ms=20)):
        agent.publish(CallOpened(call=CALL, line="test"))
        lost = await agent.heard(LineLost)
        assert lost.call == CALL
        assert lost.silent_ms >= 20


async def test_a_closed_call_is_not_missed() -> None:
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor(line_lost_ms=20)):
        agent.publish(CallOpened(call=CALL, line="test"), CallClosed(call=CALL, reason="hangup"))
        agent.publish(CallOpened(call="C2", line="test"))
        assert (await agent.heard(LineLost)).call == "C2"
        assert len(agent.past(LineLost)) == 1


async def test_sound_is_in_the_journal_before_it_is_published(tmp_path: Path) -> None:
    """Its files are read here when the frame is heard: nothing is asked of the actor."""
    async with (
        asyncio.timeout(40),
        rig(*HEARS) as agent,
        agent.running(actor(folder=tmp_path / "journal")),
    ):
        sound = tone(32_000)
        line(agent, sound)
        frame = await agent.heard(CallerPcm)
        kept = Files(tmp_path / "journal" / CALL / "0", Disk())
        assert kept.end >= frame.end
        await up_to(agent, 32_000)
        confirmed = await agent.heard(LineConfirmed, 4)
        assert 30_000 < confirmed.position <= 32_000
        answer = await replayed(agent, 1000)
        assert isinstance(answer, Replayed)
        assert (answer.first, answer.kept_to) == (1000, 32_000)
        assert np.array_equal(np.frombuffer(answer.pcm, np.int16), sound[1000:])
        assert answer.marks[0].kind == "started"


@pytest.mark.parametrize("rate", [16_000, 44_100, 8000])
async def test_a_restarted_audio_in_goes_on_in_mid_word(tmp_path: Path, rate: int) -> None:
    """Killed while the caller speaks: no sample is missing or twice, and the utterance is the same."""
    quiet, loud = np.zeros(rate, np.int16), tone(rate, rate)
    sound = np.concatenate([quiet, loud, quiet])
    kill, back = len(quiet) + rate // 2 // 441 * 441, len(quiet) + rate * 4 // 5 // 441 * 441
    async with asyncio.timeout(40), rig(*HEARS) as agent:
        async with agent.running(actor(folder=tmp_path)) as first:
            line(agent, sound[:kill], rate)
            await until(lambda: first.link.counts["received"] * rate // 50 >= kill)
            await agent.heard(SpeechContinued, 3)
        end = agent.past(CallerPcm)[-1].end
        await door_is_free(agent, "audio_in")
        async with agent.running(actor(folder=tmp_path)):
            line(agent, sound[back:], rate, back)
            resend = await agent.heard(LineResend)
            assert 0 <= end * rate / 16_000 - resend.first < rate * 0.06
            line(agent, sound[resend.first :], rate, resend.first, ms=1000, again=True)
            ended = await agent.heard(SpeechEnded)
            out = joined(await up_to(agent, len(sound) * 16_000 // rate - 40)).astype(float)
        assert len(agent.past(SpeechStarted)) == 1
        assert ended.onset == agent.past(SpeechStarted)[0].onset
        assert abs(ended.end - 32_000) <= 2 * WINDOW
        resampler = To16k(rate)
        whole = np.frombuffer(resampler.push(0, sound.tobytes())[1], np.int16).astype(float)
        n = min(len(out), len(whole))
        assert np.abs(out[:n] - whole[:n]).max() <= 40  # of 8000: a resampler in tune again


async def test_a_full_disk_is_told_and_the_call_goes_on_from_memory(tmp_path: Path) -> None:
    """Here the limit is reached; a disk without room answers in the same way."""
    async with (
        asyncio.timeout(40),
        rig(*HEARS) as agent,
        agent.running(actor(folder=tmp_path, max_mb=1)) as audio_in,
    ):
        for second in range(40):
            line(agent, tone(16_000), first=second * 16_000, ms=1000)
        state = await agent.heard(JournalState)
        assert not state.protected
        assert "limit of 1000000 bytes" in state.why
        assert audio_in.heartbeat().extra["unprotected_channels"] == 1.0
        await up_to(agent, 40 * 16_000)
        answer = await replayed(agent, 39 * 16_000)
        assert isinstance(answer, Replayed)
        assert answer.samples == 16_000
        on_disk = sum(len(path.read_bytes()) for path in segments(tmp_path))
        assert on_disk <= 1_000_000
        assert agent.past(LineConfirmed)[-1].position <= on_disk // 2


async def test_what_is_transcribed_leaves_the_disk(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(40),
        rig(*HEARS) as agent,
        agent.running(actor(folder=tmp_path, segment_s=1)),
    ):
        for second in range(8):
            line(agent, tone(16_000), first=second * 16_000, ms=1000)
        await up_to(agent, 8 * 16_000)
        before = len(segments(tmp_path))
        agent.publish(Transcribed(call=CALL, position=4 * 16_000))
        await until(lambda: len(segments(tmp_path)) < before)
        agent.publish(CallClosed(call=CALL, reason="hangup"))
        done = await asked(agent, Transcribed(call=CALL, position=8 * 16_000, last=True))
        assert isinstance(done, Done)
        assert not segments(tmp_path)


async def test_a_damaged_journal_is_told_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "C9" / "0"
    folder.mkdir(parents=True)
    (folder / "000000-000000000000000.seg").write_bytes(b"something else altogether")
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor(folder=tmp_path)):
        damaged = await agent.heard(JournalDamaged)
        assert damaged.file.endswith("C9/0/000000-000000000000000.seg")
        assert damaged.why == "no journal segment"
        line(agent, tone(320))
        await up_to(agent, 320)
