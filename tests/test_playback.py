"""playback on in-proc sockets: paced by the clock, quieter at the onset, silent at CANCEL."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
from msgspec import structs

from actors.playback import PlaybackActor
from bus.clock import ReplayClock
from schemas import (
    AgentPcm,
    CallOpened,
    Duck,
    Ducked,
    Event,
    Held,
    Hold,
    PlaybackFinished,
    PlaybackStarted,
    Restore,
    Restored,
    Speech,
    SpeechEnded,
    SpeechLikely,
    SpeechStarted,
    TurnStarted,
)
from tests.rig import Rig, rig, until

CALL = "C1"
MS = 1_000_000
FRAME = 320
HEARS: tuple[type[Event], ...] = (
    *(AgentPcm, PlaybackStarted, PlaybackFinished),
    *(Ducked, Restored),
)


def speech(turn: int, ms: int, first: int = 0, rate: int = 16_000, last: bool = False) -> Speech:
    pcm = np.full(ms * rate // 1000, 10_000, np.int16).tobytes()
    return Speech(call=CALL, turn=turn, first=first, rate=rate, pcm=pcm, last=last)


def ramp(turn: int, ms: int) -> Speech:
    """Each sample another: what is skipped or repeated would show."""
    pcm = (10_000 + np.arange(ms * 16) % 9_000).astype(np.int16).tobytes()
    return Speech(call=CALL, turn=turn, first=0, rate=16_000, pcm=pcm)


def begun(turn: int, end: int = 0) -> TurnStarted:
    """The turn is sure; its question ended before sample `end`."""
    return TurnStarted(call=CALL, turn=turn, text="", start=0, end=end)


async def pass_time(agent: Rig, clock: ReplayClock, frames: int) -> list[AgentPcm]:
    """Frame times pass one by one; what was played until then."""
    for _ in range(frames):
        count = len(agent.past(AgentPcm)) + 1
        clock.set(clock.now() + 20 * MS)
        await agent.heard(AgentPcm, count)
    return agent.past(AgentPcm)


async def test_frames_are_paced_by_the_clock_one_ahead_of_the_line() -> None:
    clock = ReplayClock(10_000 * MS)
    room = rig(*HEARS)
    async with asyncio.timeout(40), room as agent, agent.running(PlaybackActor(), clock=clock):
        agent.publish(begun(1), speech(1, 200))
        await agent.heard(AgentPcm, 2)
        frames = await pass_time(agent, clock, 8)
        assert [frame.first for frame in frames] == list(range(0, 10 * FRAME, FRAME))
        stamps = [stamp.at_ns for event, stamp in agent.events if isinstance(event, AgentPcm)]
        assert [b - a for a, b in itertools.pairwise(stamps[1:])] == [20 * MS] * 8
        assert len(agent.past(PlaybackStarted)) == 1


async def test_the_end_is_padded_marked_and_told() -> None:
    clock = ReplayClock(10_000 * MS)
    room = rig(*HEARS)
    async with asyncio.timeout(40), room as agent, agent.running(PlaybackActor(), clock=clock):
        agent.publish(begun(1), speech(1, 30, last=True))
        frames = [await agent.heard(AgentPcm), await agent.heard(AgentPcm, 2)]
        assert [(len(frame.pcm) // 2, frame.last) for frame in frames] == [
            (FRAME, False),
            (FRAME, True),
        ]
        assert frames[1].pcm.endswith(bytes(320))
        finished = await agent.heard(PlaybackFinished)
        assert (finished.samples, finished.rate, finished.starved_ms) == (2 * FRAME, 16_000, 0)


async def test_an_answer_without_sound_still_ends() -> None:
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(PlaybackActor()):
        agent.publish(begun(1), Speech(call=CALL, turn=1, last=True, error="no voice"))
        assert (await agent.heard(PlaybackFinished)).samples == FRAME
        assert len(agent.past(PlaybackStarted)) == 1


async def test_sound_comes_out_at_the_line_s_own_rate() -> None:
    actor = PlaybackActor()
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor):
        agent.publish(CallOpened(call=CALL, line="test", agent_rate=8000))
        await until(lambda: CALL in actor._rates)  # sound takes another lane
        agent.publish(begun(1), speech(1, 100, rate=22_050, last=True))
        finished = await agent.heard(PlaybackFinished)
        frames = [frame for frame in agent.past(AgentPcm) if frame.pcm]
        assert {(frame.rate, len(frame.pcm)) for frame in frames} == {(8000, 320)}
        assert (finished.rate, finished.samples) == (8000, 800)
        loud = np.frombuffer(frames[2].pcm, np.int16)
        assert np.all(np.abs(loud - 10_000) < 300)


async def test_the_voice_ducks_at_the_onset_and_swells_back_behind_no_queue() -> None:
    """A Restore must not wait until the two seconds of speech before it were played."""
    clock = ReplayClock(10_000 * MS)
    room = rig(*HEARS)
    actor = PlaybackActor()
    async with asyncio.timeout(40), room as agent, agent.running(actor, clock=clock) as playback:
        agent.publish(begun(1), speech(1, 1000), speech(1, 1000, first=16_000))
        await agent.heard(AgentPcm, 2)
        agent.publish(SpeechStarted(call=CALL, onset=0), SpeechStarted(call=CALL, onset=0))
        ducked = await agent.heard(Ducked)
        assert (ducked.at, ducked.gain_db, ducked.turn) == (2 * FRAME, -26.0, 1)
        quiet = (await pass_time(agent, clock, 2))[-1]
        assert quiet.ducked
        assert np.frombuffer(quiet.pcm, np.int16).max() <= 1000
        agent.publish(Restore(call=CALL, turn=9, reason="of another turn"))
        await until(lambda: playback.link.counts["received"] == 6)
        assert (await pass_time(agent, clock, 1))[-1].ducked
        agent.publish(Restore(call=CALL, turn=1, reason="not meant"))
        assert (await agent.heard(Restored)).at == 5 * FRAME
        loud = (await pass_time(agent, clock, 2))[-1]
        assert not loud.ducked
        assert np.frombuffer(loud.pcm, np.int16).min() == 10_000
        assert (len(agent.past(Ducked)), len(agent.past(Restored))) == (1, 1)


async def test_half_duplex_takes_no_notice_of_the_caller() -> None:
    actor = PlaybackActor(ducks=False)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor):
        agent.publish(begun(1), speech(1, 100))
        await agent.heard(AgentPcm)
        agent.publish(SpeechStarted(call=CALL, onset=0), Duck(call=CALL, turn=1))
        agent.publish(speech(1, 0, last=True))
        await agent.heard(PlaybackFinished)
        assert agent.past(Ducked) == []
        assert not any(frame.ducked for frame in agent.past(AgentPcm))


async def test_cancel_drops_the_queue_and_says_what_was_not_played() -> None:
    clock = ReplayClock(10_000 * MS)
    room = rig(*HEARS, roster=("playback",))
    async with asyncio.timeout(40), room as agent, agent.running(PlaybackActor(), clock=clock):
        agent.publish(begun(1), speech(1, 500), speech(1, 300, first=8000))
        await agent.heard(AgentPcm, 2)
        row = (await agent.cancel(CALL, 1)).rows[0]
        assert row.verdict == "released"
        assert row.stopped["played_samples"] == 2 * FRAME
        assert row.stopped["unplayed_ms"] == 500 - 40 + 300
        agent.publish(speech(1, 100), begun(2), speech(2, 100))
        await agent.heard(AgentPcm, turn=2)
        assert len([frame for frame in agent.past(AgentPcm) if frame.turn == 1]) == 2
        assert agent.past(PlaybackFinished) == []


async def test_a_starved_voice_goes_on_from_now_and_says_so() -> None:
    clock = ReplayClock(10_000 * MS)
    room = rig(*HEARS)
    async with asyncio.timeout(40), room as agent, agent.running(PlaybackActor(), clock=clock):
        agent.publish(begun(1), speech(1, 40))
        await agent.heard(AgentPcm, 2)
        clock.set(clock.now() + 500 * MS)
        agent.publish(speech(1, 40, first=640, last=True))
        await agent.heard(AgentPcm, 3)
        await pass_time(agent, clock, 1)
        clock.set(clock.now() + 20 * MS)
        assert (await agent.heard(PlaybackFinished)).starved_ms >= 400


async def test_a_turn_is_held_until_it_is_sure() -> None:
    clock = ReplayClock(10_000 * MS)
    room = rig(*HEARS)
    actor = PlaybackActor()
    async with asyncio.timeout(40), room as agent, agent.running(actor, clock=clock) as playback:
        agent.publish(speech(1, 30), speech(1, 10, first=480, last=True))
        await until(lambda: playback.link.counts["received"] == 2)
        clock.set(clock.now() + 400 * MS)
        assert agent.past(AgentPcm) == []
        agent.publish(begun(1))
        await agent.heard(AgentPcm, 2)
        frames = await pass_time(agent, clock, 1)
        assert [frame.first for frame in frames] == [0, FRAME, 2 * FRAME]
        assert (await agent.heard(PlaybackFinished)).samples == 640


async def test_what_was_held_is_never_heard_after_a_cancel() -> None:
    room = rig(*HEARS, roster=("playback",))
    async with asyncio.timeout(40), room as agent, agent.running(PlaybackActor()) as playback:
        agent.publish(speech(1, 500))
        await until(lambda: playback.link.counts["received"] == 1)
        await agent.cancel(CALL, 1)
        agent.publish(begun(1), speech(1, 100), begun(2), speech(2, 100))
        await agent.heard(AgentPcm, turn=2)
        assert {frame.turn for frame in agent.past(AgentPcm)} == {2}


async def test_a_turn_begins_lowered_while_the_caller_speaks() -> None:
    """From its very first sample, without a ramp; a question that is over lowers nothing."""
    clock = ReplayClock(10_000 * MS)
    room = rig(*HEARS)
    actor = PlaybackActor()
    async with asyncio.timeout(40), room as agent, agent.running(actor, clock=clock) as playback:
        agent.publish(SpeechStarted(call=CALL, onset=0), begun(1, 8000))
        agent.publish(SpeechStarted(call=CALL, onset=9000))
        await until(lambda: playback.link.counts["received"] == 3)
        agent.publish(speech(1, 100))
        frame = await agent.heard(AgentPcm)
        assert frame.ducked
        assert 0 < np.frombuffer(frame.pcm, np.int16).max() <= 600
        assert (await agent.heard(Ducked)).at == 0
        agent.publish(Restore(call=CALL, turn=1, reason="not meant"))
        await agent.heard(Restored)
        agent.publish(SpeechStarted(call=CALL, onset=18_000), begun(2, 20_000), speech(2, 100))
        assert not (await agent.heard(AgentPcm, turn=2)).ducked


async def test_who_has_fallen_silent_before_the_first_sound_lowers_nothing() -> None:
    async with (
        asyncio.timeout(40),
        rig(*HEARS) as agent,
        agent.running(PlaybackActor()) as playback,
    ):
        agent.publish(begun(1), SpeechStarted(call=CALL, onset=9000))
        agent.publish(SpeechEnded(call=CALL, onset=9000, end=12_000, voiced=3000))
        await until(lambda: playback.link.counts["received"] == 3)
        agent.publish(speech(1, 100))
        assert not (await agent.heard(AgentPcm)).ducked


async def test_a_notice_is_not_lowered_what_follows_it_is() -> None:
    clock = ReplayClock(10_000 * MS)
    room = rig(*HEARS)
    actor = PlaybackActor()
    async with asyncio.timeout(40), room as agent, agent.running(actor, clock=clock):
        notice = structs.replace(speech(1, 100), notice=True)
        agent.publish(begun(1), notice, speech(1, 100, first=1600))
        await agent.heard(AgentPcm, 2)
        agent.publish(SpeechStarted(call=CALL, onset=0))
        await until(lambda: actor._playing[CALL].talked_over)
        frames = await pass_time(agent, clock, 7)
        assert [frame.ducked for frame in frames] == [False] * 5 + [True] * 4
        assert (await agent.heard(Ducked)).at == 5 * FRAME


async def test_a_held_voice_fades_keeps_its_place_and_goes_on_there() -> None:
    clock = ReplayClock(10_000 * MS)
    room = rig(*HEARS, Held)
    actor = PlaybackActor()
    async with asyncio.timeout(40), room as agent, agent.running(actor, clock=clock):
        agent.publish(begun(1), ramp(1, 2000))
        await agent.heard(AgentPcm, 2)
        await pass_time(agent, clock, 2)
        agent.publish(Hold(call=CALL, turn=1))
        await until(lambda: actor._playing[CALL].held)
        fading = (await pass_time(agent, clock, 1))[-1]
        held = await agent.heard(Held)
        assert held.at == fading.end
        assert np.frombuffer(fading.pcm, np.int16)[FRAME // 2 :].any() == 0  # after a ramp of 10 ms
        clock.set(clock.now() + 5000 * MS)
        agent.publish(Restore(call=CALL, turn=1, reason="not meant"))
        next_one = await agent.heard(AgentPcm, len(agent.past(AgentPcm)) + 1)
        assert next_one.first == held.at
        later = (await pass_time(agent, clock, 3))[-1]
        assert later.pcm == ramp(1, 2000).pcm[2 * later.first : 2 * later.end]
        assert np.frombuffer(next_one.pcm, np.int16)[0] < 100  # it swells: no click


async def test_a_held_voice_falls_silent_at_cancel_like_any_other() -> None:
    clock = ReplayClock(10_000 * MS)
    room = rig(*HEARS, Held, roster=("playback",))
    actor = PlaybackActor()
    async with asyncio.timeout(40), room as agent, agent.running(actor, clock=clock):
        agent.publish(begun(1), speech(1, 2000))
        await agent.heard(AgentPcm, 2)
        agent.publish(Hold(call=CALL, turn=1))
        await until(lambda: actor._playing[CALL].held)
        await pass_time(agent, clock, 1)
        await agent.heard(Held)
        table = await agent.cancel(CALL, 1)
        assert [row.verdict for row in table.rows if row.actor == "playback"] == ["released"]


async def test_a_sound_that_may_be_speech_lowers_the_voice_for_a_moment() -> None:
    clock = ReplayClock(10_000 * MS)
    room = rig(*HEARS)
    actor = PlaybackActor(trial_ms=100)
    async with asyncio.timeout(40), room as agent, agent.running(actor, clock=clock):
        agent.publish(begun(1), speech(1, 2000))
        await agent.heard(AgentPcm, 2)
        agent.publish(SpeechLikely(call=CALL, at=512))
        await agent.heard(Ducked)
        await pass_time(agent, clock, 7)
        restored = await agent.heard(Restored)
        assert 80 <= (restored.at - agent.past(Ducked)[0].at) / 16 <= 120
        agent.publish(SpeechLikely(call=CALL, at=512), SpeechStarted(call=CALL, onset=0))
        await agent.heard(Ducked, 2)
        await pass_time(agent, clock, 10)
        assert len(agent.past(Restored)) == 1


async def test_a_fence_that_fails_once_does_not_end_the_lane() -> None:
    room = rig(*HEARS, roster=("playback",))
    async with asyncio.timeout(40), room as agent, agent.running(PlaybackActor()) as playback:
        whole = playback.desk.raise_fence

        def broken(call: str, turn: int) -> bool:
            playback.desk.raise_fence = whole  # type: ignore[method-assign] # it fails this once
            raise OSError("no such fence")

        playback.desk.raise_fence = broken  # type: ignore[method-assign] # a failure to order
        for turn in (1, 2):  # the first is obeyed at the door
            table = await agent.cancel(CALL, turn)
            assert [row.verdict for row in table.rows] == ["released"]
        assert playback.control.lane.is_alive()


async def test_a_voice_that_took_over_goes_on_where_the_other_is_known_to_have_got() -> None:
    """Sound that never came is silence; what is known to be whole, and ended, is not ended again."""
    clock = ReplayClock(10_000 * MS)
    room = rig(*HEARS)
    async with asyncio.timeout(40), room as agent, agent.running(PlaybackActor(), clock=clock):
        agent.publish(begun(1), speech(1, 40), speech(1, 40, first=3 * FRAME, last=True))
        await agent.heard(AgentPcm, 2)
        frames = await pass_time(agent, clock, 3)
        sounds = [np.frombuffer(frame.pcm, np.int16) for frame in frames]
        assert [bool(sound.any()) for sound in sounds] == [True, True, False, True, True]
        clock.set(clock.now() + 40 * MS)
        finished = await agent.heard(PlaybackFinished)
        agent.publish(speech(1, 0, first=5 * FRAME, last=True), speech(1, 20), begun(2))
        agent.publish(speech(2, 20, last=True))
        await agent.heard(AgentPcm, turn=2)
        assert (finished.samples, len(agent.past(PlaybackStarted))) == (5 * FRAME, 2)
        assert sum(frame.samples for frame in agent.past(AgentPcm) if frame.turn == 1) == 5 * FRAME


async def test_a_voice_at_another_rate_takes_over() -> None:
    clock = ReplayClock(10_000 * MS)
    room = rig(*HEARS)
    async with asyncio.timeout(40), room as agent, agent.running(PlaybackActor(), clock=clock):
        agent.publish(begun(1), speech(1, 40), speech(1, 100, first=320, rate=8000))
        await agent.heard(AgentPcm, 2)
        frames = await pass_time(agent, clock, 4)
        assert all(np.frombuffer(frame.pcm, np.int16).any() for frame in frames)
