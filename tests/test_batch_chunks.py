"""What stt transcribes in batches while there is no recogniser: row O5, on in-proc sockets."""

from __future__ import annotations

from pathlib import Path

from schemas import (
    EngineFailed,
    Final,
    SessionOpened,
    SttDegraded,
    SttRecovered,
)
from tests.counting import WORD
from tests.rig import until
from tests.stand import CALL, S, proven, spoken, stand, whole


async def test_o5_sound_is_transcribed_in_batch_every_30_s_under_its_own_session(
    tmp_path: Path,
) -> None:
    async with stand(tmp_path) as it:
        await it.goes_down()
        await it.utterance(S, 3 * S)
        assert not it.agent.past(Final)
        await it.passes(30)
        first = await it.agent.heard(Final)
        assert whole(first.text)
        assert (first.utterance, first.start) == (S, S - 6400)
        assert first.words[0].start == first.start
        await it.utterance(9 * S, 11 * S)
        await it.passes(30)
        second = await it.agent.heard(Final, 2)
        assert whole(second.text)
        assert second.utterance == 9 * S
        live = it.agent.past(SessionOpened)[0].stt_session
        assert len({live, first.stt_session, second.stt_session}) == 3
        proven(await it.hangs_up(), 11 * S)


async def test_o5_a_failed_chunk_stays_in_front_with_its_time(tmp_path: Path) -> None:
    async with stand(tmp_path, batch_fails="503") as it:
        await it.goes_down()
        await it.utterance(S, 3 * S)
        await it.passes(30)
        stream = it.actor._streams[CALL, 0]
        assert stream.degraded is not None
        chunk = stream.degraded.next()
        assert chunk is not None
        assert (chunk.start, chunk.since_ns) == (0, stream.degraded.since_ns)
        await it.utterance(9 * S, 11 * S)
        await it.passes(30)
        assert stream.degraded.next() == chunk
        it.batch.fails = ""
        await it.passes(30)
        await it.agent.heard(Final, 2)
        assert [final.utterance for final in it.agent.past(Final)] == [S, 9 * S]
        proven(await it.hangs_up(), 11 * S)


async def test_o5_new_sound_during_a_flush_waits_for_the_next_chunk(tmp_path: Path) -> None:
    async with stand(tmp_path) as it:
        await it.goes_down()
        await it.utterance(S, 3 * S)
        it.batch.gate.clear()
        await it.passes(30)
        await it.batch.at_work.wait()
        await it.utterance(9 * S, 11 * S)
        it.batch.gate.set()
        await it.agent.heard(Final)
        await it.taken()
        proven(await it.hangs_up(), 11 * S)
        assert it.batch.ranges == [(S - 6400, 3 * S), (9 * S - 6400, 11 * S)]


async def test_a_batch_engine_that_hangs_has_failed_and_holds_up_nothing(tmp_path: Path) -> None:
    async with stand(tmp_path) as it:
        await it.goes_down()
        await it.utterance(S, 3 * S)
        it.batch.gate.clear()
        it.engine.refuses = ""
        await it.passes(30)
        await it.batch.at_work.wait()
        await it.passes(70)
        failed = [event for event in it.agent.past(EngineFailed) if event.service == "stt_batch"]
        assert "within" in failed[0].error
        await it.agent.heard(SttRecovered)
        assert (await it.agent.heard(Final)).text == "whole"
        proven(await it.hangs_up(), 3 * S)


async def test_words_of_a_batch_in_no_order_are_each_there_once(tmp_path: Path) -> None:
    async with stand(tmp_path) as it:
        await it.goes_down()
        it.batch.reverse = True
        await it.utterance(S, 3 * S)
        await it.utterance(9 * S, 11 * S)
        segments = await it.hangs_up()
        proven(segments, 11 * S)
        found = [word.start for segment in segments for word in segment.words]
        assert sorted(found) == list(range(S - 6400, 11 * S, WORD))


async def test_a_final_that_nobody_asked_for_ends_the_session_and_moves_no_words(
    tmp_path: Path,
) -> None:
    async with stand(tmp_path) as it:
        it.say(2 * S)
        it.begins(S)
        await it.taken()
        it.engine.sessions[0].says("never said", utterance=10**12)
        degraded = await it.agent.heard(SttDegraded)
        assert "nobody had asked for" in degraded.why
        await it.passes(0.3)
        it.say(3 * S)
        it.ends(S, 3 * S)
        assert (await it.agent.heard(Final)).text == "whole"
        segments = await it.hangs_up()
        proven(segments, 3 * S)
        assert "never said" not in {segment.text for segment in segments}


async def test_o5_a_used_up_budget_keeps_the_sound(tmp_path: Path) -> None:
    async with stand(tmp_path, budget_s=1.0) as it:
        await it.goes_down()
        await it.utterance(S, 3 * S)
        await it.passes(60)
        assert it.batch.ranges == []
        assert not it.agent.past(Final)
        it.engine.refuses = ""
        await it.passes(60)
        await it.agent.heard(SttRecovered)
        assert (await it.agent.heard(Final)).text == "whole"
        proven(await it.hangs_up(), 3 * S)


async def test_what_a_hang_up_could_not_flush_is_transcribed_later(tmp_path: Path) -> None:
    """No restart needs to remind of it."""
    async with stand(tmp_path, batch_fails="503") as it:
        await it.goes_down()
        await it.utterance(S, 3 * S)
        await it.hangs_up()
        it.sounds.journal.journals.closed(CALL)
        it.batch.fails = ""
        await it.passes(31)
        await until(lambda: not it.sounds.journal.journals.kept())
        proven(it.written(), 3 * S)


async def test_a_goodbye_that_was_lost_is_made_up_for(tmp_path: Path) -> None:
    """Only stt did not hear it; audio_in knows."""
    async with stand(tmp_path) as it:
        await it.utterance(S, 3 * S)
        await it.agent.heard(Final)
        it.sounds.journal.journals.closed(CALL)
        await it.passes(31)
        assert it.actor._streams, "it may be that audio_in has heard of the call later than stt"
        await it.passes(31)
        await until(lambda: not it.actor._streams)
        proven(it.written(), 3 * S)


async def test_o5_a_hang_up_flushes_what_is_left(tmp_path: Path) -> None:
    async with stand(tmp_path) as it:
        await it.goes_down()
        await it.utterance(S, 3 * S)
        it.begins(it.at - 1600)
        it.say(4 * S)
        await it.taken()
        segments = await it.hangs_up()
        proven(segments, 4 * S)
        assert (
            spoken(segments) == [("batch", "whole"), ("batch", "whole")]
            or len(spoken(segments)) == 2
        )
