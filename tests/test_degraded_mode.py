"""stt when its recogniser fails: rows O3 to O11 of the requirements, each by name, on in-proc sockets."""

from __future__ import annotations

from pathlib import Path

from actors.breaker import BreakerActor
from actors.segments import problems
from schemas import (
    BreakerChanged,
    CallClosed,
    CallOpened,
    EngineFailed,
    Final,
    SessionOpened,
    SttDegraded,
    SttRecovered,
    TurnCancelled,
)
from tests.counting import FRAME
from tests.rig import until
from tests.stand import CALL, NS, S, proven, spoken, stand, whole

# -- O4, O7, O8: a failing engine never ends the call; noticed at once; told once ------------------


async def test_o4_o12_a_session_that_dies_in_mid_word_costs_no_sample(tmp_path: Path) -> None:
    async with stand(tmp_path) as it:
        it.say(2 * S)
        await it.taken()
        it.begins(S)
        it.say(3 * S)
        await it.taken()
        it.engine.sessions[0].die("decoder died")
        degraded = await it.agent.heard(SttDegraded)
        assert (degraded.batch_mode, degraded.batch_interval_s, degraded.why) == (
            True,
            30.0,
            "decoder died",
        )
        it.say(4 * S)
        await it.taken()
        await it.passes(0.3)
        await it.agent.heard(SttRecovered)
        it.say(5 * S)
        await it.taken()
        it.ends(S, 5 * S)
        final = await it.agent.heard(Final)
        assert (final.utterance, final.text) == (S, "whole")
        failed = await it.agent.heard(EngineFailed)
        assert (failed.service, failed.error) == ("stt", "decoder died")
        segments = await it.hangs_up()
        proven(segments, 5 * S)
        assert spoken(segments) == [("live", "whole")]
        assert it.batch.ranges == []
        assert it.sounds.last[-1].last


async def test_o7_a_dead_session_is_noticed_before_and_after_a_send(tmp_path: Path) -> None:
    """Not when its results are read, nor at the next flush: with the next frame."""
    async with stand(tmp_path) as it:
        it.say(2 * S)
        await it.taken()
        it.begins(S)
        await it.taken()
        it.engine.sessions[0].dead = "closed by peer: 1011"
        it.say(2 * S + FRAME)
        await it.taken()
        assert (await it.agent.heard(SttDegraded)).why == "closed by peer: 1011"
        fed = len(it.engine.sessions[0].pcm)
        it.say(3 * S)
        await it.taken()
        assert len(it.engine.sessions[0].pcm) == fed
        await it.passes(0.3)
        it.ends(S, 3 * S)
        await it.taken()
        proven(await it.hangs_up(), 3 * S)


async def test_o8_degraded_and_recovered_are_told_once_each(tmp_path: Path) -> None:
    async with stand(tmp_path) as it:
        it.engine.refuses = "no route to host"
        it.engine.sessions[0].die()
        await it.agent.heard(SttDegraded)
        await it.passes(100)
        assert it.engine.tries > 5
        it.engine.refuses = ""
        await it.passes(40)
        recovered = await it.agent.heard(SttRecovered)
        assert recovered.batch_mode
        assert recovered.batch_interval_s == 30.0
        assert 100 < recovered.degraded_for_s < 141
        await it.passes(100)
        assert len(it.agent.past(SttDegraded)) == len(it.agent.past(SttRecovered)) == 1


async def test_a_silent_hang_is_noticed_within_3_s_of_speech(tmp_path: Path) -> None:
    async with stand(tmp_path) as it:
        it.engine.sessions[0].hangs = True
        it.say(S)
        await it.taken()
        it.begins(S // 2)
        began = it.clock.now()
        while not it.agent.past(SttDegraded):
            it.clock.set(it.clock.now() + 20_000_000)
            it.say(it.at + FRAME)
            await it.taken()
        assert it.clock.now() - began <= 3 * NS
        assert "hangs" in it.agent.past(SttDegraded)[0].why
        await it.passes(0.3)
        it.ends(S // 2, it.at)
        assert (await it.agent.heard(Final)).text == "whole"
        proven(await it.hangs_up(), it.at)


async def test_whatever_an_engine_raises_costs_no_sample(tmp_path: Path) -> None:
    """An OSError at `open` once left a stream without a session, and its call without a transcript."""
    async with stand(tmp_path) as it:
        await it.utterance(S, 3 * S)
        it.engine.sessions[0].bug = RuntimeError("a bug of its own")
        it.engine.bug = OSError(24, "Too many open files")
        await it.utterance(9 * S, 11 * S)
        assert "a bug of its own" in it.agent.past(SttDegraded)[0].why
        await it.passes(5)
        assert it.engine.tries > 1
        it.engine.bug = None
        await it.passes(20)
        await it.agent.heard(SttRecovered)
        segments = await it.hangs_up()
        proven(segments, 11 * S)
        assert [segment.utterance for segment in segments if segment.text] == [S, 9 * S]


# -- H9: a session that ends with the turn --------------------------------------------------------


async def test_h9_a_session_bound_to_the_turn_is_reopened_after_the_grace(tmp_path: Path) -> None:
    """What is said in the grace is no less transcribed, once, by the new session."""
    async with stand(tmp_path, reopen_ms=200) as it:
        it.say(S)
        await it.taken()
        it.begins(S // 2)
        it.say(2 * S)
        await it.taken()
        cancelled = TurnCancelled(call=CALL, turn=1, reason="interrupted", sent_ns=1, rows=())
        it.agent.publish(cancelled)
        it.heard += 1
        await it.taken()
        assert it.engine.sessions[0].closed
        it.say(2 * S + 4 * FRAME)
        await it.passes(0.1)
        assert len(it.engine.sessions) == 1
        await it.passes(0.15)
        assert len(it.engine.sessions) == 2
        it.say(3 * S)
        await it.taken()
        it.ends(S // 2, 3 * S)
        final = await it.agent.heard(Final)
        assert (final.text, final.stt_session) == ("whole", it.actor._streams[CALL, 0].pinned.id)  # type: ignore[union-attr]
        assert not it.agent.past(SttDegraded)
        proven(await it.hangs_up(), 3 * S)


async def test_h9_a_hang_up_within_the_grace_loses_nothing(tmp_path: Path) -> None:
    async with stand(tmp_path, reopen_ms=200) as it:
        it.say(S)
        await it.taken()
        it.begins(S // 2)
        await it.taken()
        it.agent.publish(TurnCancelled(call=CALL, turn=1, reason="interrupted", sent_ns=1, rows=()))
        it.heard += 1
        await it.taken()
        it.say(2 * S)
        await it.taken()
        segments = await it.hangs_up()
        proven(segments, 2 * S)
        assert [kind for kind, _ in spoken(segments)] == ["batch"]


# -- E9: more calls than the recogniser may take -------------------------------------------------


async def test_e9_one_call_too_many_is_no_failure_and_goes_live_when_there_is_room(
    tmp_path: Path,
) -> None:
    """Refused more often than failures open a circuit."""
    breaker = BreakerActor(threshold=3)
    async with stand(tmp_path) as it, it.agent.running(breaker, clock=it.clock):
        it.engine.most = 2
        for call in ("C2", "C3"):
            it.sounds.journal.journals.opened(call)
            it.agent.publish(CallOpened(call=call, line="test", channels=1))
        it.heard += 2
        degraded = await it.agent.heard(SttDegraded)
        assert (degraded.call, degraded.why) == ("C3", "2 calls already")
        it.call = "C3"
        await it.utterance(S, 3 * S)
        await it.passes(130)
        assert it.engine.tries - 3 >= 4
        final = await it.agent.heard(Final)
        assert (final.call, final.text.split()[0]) == ("C3", "whole")
        assert it.actor.gauges() == {"open_sessions": 2.0, "degraded_sessions": 1.0}
        it.agent.publish(CallClosed(call="C2", reason="hangup"))
        it.heard += 1
        await until(lambda: ("C2", 0) not in it.actor._streams)
        await it.passes(0.3)
        assert (await it.agent.heard(SttRecovered)).call == "C3"
        await it.utterance(9 * S, 11 * S)
        await it.agent.heard(Final, 2)
        assert it.agent.past(EngineFailed) == []
        [circuit] = [one for one in breaker.snapshot() if one.service == "stt"]
        assert (circuit.state, circuit.failures) == ("closed", 0)
        it.agent.publish(CallClosed(call=CALL, reason="hangup"))
        segments = await it.hangs_up()
        proven(segments, 11 * S)
        assert [kind for kind, _ in spoken(segments)] == ["batch", "live"]


async def test_e9_a_session_that_is_slow_to_close_keeps_the_place_of_its_successor(
    tmp_path: Path,
) -> None:
    async with stand(tmp_path, lease="L1") as it:
        it.engine.most = 1
        it.engine.sessions[0].closes.clear()
        it.engine.sessions[0].dead = "gone"
        it.say(S)
        await it.agent.heard(SttDegraded)
        await it.passes(5)
        assert it.engine.tries == 2
        assert it.leave.back == ["worked"], "it is there, and full: the circuit may close"
        it.engine.sessions[0].closes.set()
        await it.passes(0.3)
        await it.agent.heard(SttRecovered)
        assert [failed.error for failed in it.agent.past(EngineFailed)] == ["gone"]
        proven(await it.hangs_up(), S)


# -- O3: backoff, attempts, one task per stream ----------------------------------------------------


async def test_o3_ten_attempts_then_the_task_ends_and_may_start_again(tmp_path: Path) -> None:
    async with stand(tmp_path) as it:
        await it.goes_down()
        await it.passes(29)
        first = it.engine.tries
        for _ in range(3):  # each time the circuit changes, but there is one task
            it.agent.publish(
                BreakerChanged(service="stt", state="closed", was="open", failures=0, reason="")
            )
        it.heard += 3
        await it.taken()
        await it.passes(60)
        assert it.engine.tries > first
        assert it.engine.tries - 1 <= 2 * 10
        await it.passes(120)
        it.engine.refuses = ""
        await it.passes(40)
        await it.agent.heard(SttRecovered)


# -- O2, as far as stt has a part in it -------------------------------------------------------------


async def test_o2_without_leave_nothing_is_tried(tmp_path: Path) -> None:
    async with stand(tmp_path) as it:
        it.leave.granted = False
        tries = it.engine.tries
        it.engine.sessions[0].die()
        await it.agent.heard(SttDegraded)
        await it.passes(20)
        assert it.leave.asked == 1
        assert it.engine.tries == tries
        it.leave.granted = True
        it.agent.publish(
            BreakerChanged(service="stt", state="half_open", was="open", failures=3, reason="")
        )
        it.heard += 1
        await it.taken()
        await it.passes(1)
        await it.agent.heard(SttRecovered)


async def test_o2_a_breaker_that_is_away_is_asked_again_soon(tmp_path: Path) -> None:
    """It may be restarting, and nobody tells when it is back: stt does not wait for the next batch."""
    async with stand(tmp_path) as it:
        it.leave.away = 3
        it.engine.sessions[0].die()
        await it.agent.heard(SttDegraded)
        await it.passes(5)
        await it.agent.heard(SttRecovered)
        assert it.leave.asked == 4


async def test_o2_a_failed_probe_ends_the_remaining_attempts(tmp_path: Path) -> None:
    async with stand(tmp_path, lease="L1") as it:
        it.engine.refuses = "still down"
        it.engine.sessions[0].die()
        await it.agent.heard(SttDegraded)
        await it.passes(20)
        assert it.leave.back == ["failed"]
        assert it.leave.asked == 1


# -- O6: the order of recovery -----------------------------------------------------------------------


async def test_o6_connect_flush_session_recovered_and_the_running_path_feeds_it(
    tmp_path: Path,
) -> None:
    async with stand(tmp_path) as it:
        await it.goes_down()
        await it.utterance(S, 3 * S)
        it.engine.refuses = ""
        it.batch.gate.clear()
        await it.passes(10)
        await it.batch.at_work.wait()
        assert len(it.engine.sessions) == 2  # connected; flushing now
        assert len(it.agent.past(SessionOpened)) == 1
        it.say(4 * S)
        await it.taken()
        assert it.engine.sessions[1].pcm == b""  # still to the buffer
        it.batch.gate.set()
        await it.agent.heard(SttRecovered)
        order = [
            type(e)
            for e, _ in it.agent.events
            if isinstance(e, Final | SessionOpened | SttRecovered)
        ]
        assert order == [SessionOpened, Final, SessionOpened, SttRecovered]
        await it.utterance(9 * S, 11 * S)
        assert len(it.engine.sessions[1].pcm) == 2 * (2 * S + 6400)
        final = await it.agent.heard(Final, 2)
        assert final.stt_session == it.agent.past(SessionOpened)[1].stt_session
        proven(await it.hangs_up(), 11 * S)


async def test_with_the_batch_engine_down_too_the_next_session_gets_it_all(tmp_path: Path) -> None:
    async with stand(tmp_path, batch_fails="down as well") as it:
        await it.goes_down()
        await it.utterance(S, 3 * S)
        await it.utterance(9 * S, 11 * S)
        await it.passes(60)
        assert not it.agent.past(Final)
        it.engine.refuses = ""
        await it.passes(60)
        await it.agent.heard(SttRecovered)
        await it.agent.heard(Final, 2)
        segments = await it.hangs_up()
        proven(segments, 11 * S)
        assert spoken(segments) == [("live", "whole"), ("live", "whole")]


# -- O9, O10: names of sessions and of speakers --------------------------------------------------------


async def test_o9_late_words_keep_their_session_and_take_no_part(tmp_path: Path) -> None:
    async with stand(tmp_path) as it:
        old = it.engine.sessions[0]
        old.keeps_late = True
        it.say(2 * S)
        await it.taken()
        it.begins(S)
        it.say(3 * S)
        await it.taken()
        old.dead = "half closed"
        it.say(3 * S + FRAME)
        await it.taken()
        await it.passes(0.3)
        it.ends(S, it.at)
        final = await it.agent.heard(Final)
        pinned = [opened.stt_session for opened in it.agent.past(SessionOpened)]
        assert final.stt_session == pinned[1]
        segments = await it.hangs_up()
        proven(segments, it.at)
        [late] = [segment for segment in segments if segment.kind == "late"]
        assert (late.stt_session, late.start) == (pinned[0], S - 6400)
        assert len(it.agent.past(Final)) == 1


async def test_o10_speaker_labels_begin_anew_and_old_matches_are_discarded(tmp_path: Path) -> None:
    async with stand(tmp_path, speaker="spk7") as it:
        await it.utterance(S, 3 * S)
        await it.agent.heard(Final)
        old = it.engine.sessions[0]
        old.keeps_late = True
        it.say(4 * S)
        await it.taken()
        it.begins(4 * S)
        it.say(5 * S)
        await it.taken()
        old.dead = "gone"
        it.say(5 * S + FRAME)
        await it.taken()
        await it.passes(0.3)
        it.ends(4 * S, it.at)
        await it.agent.heard(Final, 2)
        segments = await it.hangs_up()
        assert [(s.kind, s.speaker) for s in segments if s.text] == [
            ("live", "caller #1"),
            ("late", ""),
            ("live", "caller #1"),
        ]


# -- O11: channels -------------------------------------------------------------------------------------


async def test_o11_each_channel_degrades_and_recovers_by_itself(tmp_path: Path) -> None:
    async with stand(tmp_path, channels=2) as it:
        it.engine.refuses = "down"
        it.engine.sessions[1].die()
        assert (await it.agent.heard(SttDegraded)).channel == 1
        for channel in (0, 1):
            it.say(2 * S, channel=channel, begin=0)
        it.at = 2 * S
        await it.taken()
        for channel in (0, 1):
            it.begins(S, channel)
        await it.taken()
        for channel in (0, 1):
            it.ends(S, 2 * S, channel)
        assert (await it.agent.heard(Final)).channel == 0
        assert it.actor.gauges() == {"open_sessions": 1.0, "degraded_sessions": 1.0}
        await it.passes(30)
        batch = await it.agent.heard(Final, 2)
        assert batch.channel == 1
        assert whole(batch.text)
        it.engine.refuses = ""
        await it.passes(30)
        assert (await it.agent.heard(SttRecovered)).channel == 1
        segments = await it.hangs_up()
        proven(segments, 2 * S)
        assert [(s.channel, s.kind, s.speaker) for s in segments if s.text] == [
            (0, "live", "caller"),
            (1, "batch", "caller 2"),
        ]


# -- gaps and restarts -----------------------------------------------------------------------------------


async def test_a_gap_on_the_media_lane_is_filled_from_the_journal(tmp_path: Path) -> None:
    async with stand(tmp_path) as it:
        it.say(S)
        it.say(2 * S, lost=True)
        it.say(2 * S + FRAME)
        await it.taken()
        it.begins(S)
        it.say(3 * S, lost=True)
        await it.taken()
        it.ends(S, 3 * S)
        assert (await it.agent.heard(Final)).text == "whole"
        it.say(4 * S, lost=True)
        proven(await it.hangs_up(), 4 * S)


async def test_speech_whose_beginning_and_end_were_lost_is_found_in_the_frames(
    tmp_path: Path,
) -> None:
    """The events lane was down, not the media lane: no hole in the sound shows it."""
    async with stand(tmp_path) as it:
        it.say(2 * S)
        it.begins(S, lost=True)
        it.say(3 * S, onset=S, ended=False)
        it.ends(S, 3 * S, lost=True)
        it.say(4 * S, onset=S, ended=True)
        final = await it.agent.heard(Final)
        assert (final.utterance, final.text) == (S, "whole")
        proven(await it.hangs_up(), 4 * S)


async def test_an_end_of_earlier_speech_ends_no_later_one(tmp_path: Path) -> None:
    async with stand(tmp_path) as it:
        await it.utterance(S, 3 * S)
        it.say(9 * S)
        await it.taken()  # an onset so far ahead of all sound is not believed
        it.begins(9 * S)
        it.say(10 * S)
        await it.taken()
        it.ends(S, 3 * S)
        it.say(11 * S)
        it.ends(9 * S, 11 * S)
        final = await it.agent.heard(Final, 2)
        assert (final.utterance, final.end) == (9 * S, 11 * S)
        proven(await it.hangs_up(), 11 * S)


async def test_what_nobody_has_is_said_to_be_lost(tmp_path: Path) -> None:
    async with stand(tmp_path) as it:
        it.say(S)
        it.at = 2 * S
        it.say(3 * S)
        await it.taken()
        segments = await it.hangs_up()
        assert problems(segments, 3 * S) == [f"channel 0: samples {S} to {2 * S} are lost"]


async def test_o14_nothing_is_left_when_a_call_ends_in_any_state(tmp_path: Path) -> None:
    async with stand(tmp_path) as it:
        await it.goes_down()
        assert it.actor.gauges()["degraded_sessions"] == 1.0
        await it.hangs_up()
        assert it.actor.gauges() == {"open_sessions": 0.0, "degraded_sessions": 0.0}
