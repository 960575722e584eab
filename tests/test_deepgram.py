"""Sound goes over real sockets to a server of Deepgram's protocol; words, or a reason, come back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.breaker import BreakerActor
from actors.doors import Anyone, Breaker
from actors.segments import problems
from actors.stream import Kit
from actors.stt import SttActor
from actors.transcript import read as transcript
from bus.asking import Asker
from bus.clock import ReplayClock
from engines.batch_deepgram import DeepgramBatch
from engines.deepgram_wire import (
    Alternative,
    Heard,
    Ledger,
    Results,
    Said,
    batch_url,
    decode,
    live_url,
)
from engines.protocols import EngineError, Hypothesis
from engines.stt_deepgram import DeepgramEngine, DeepgramSession, DeepgramSettings, KeyRefused
from schemas import (
    BreakerChanged,
    CallClosed,
    CallerPcm,
    CallOpened,
    EngineFailed,
    Final,
    SpeechEnded,
    SpeechStarted,
    SttDegraded,
    SttRecovered,
)
from tests.counting import Sounds
from tests.fakes.deepgram import KEY, RATE, DeepgramServer, prerecorded, voice
from tests.fleet import free_port
from tests.rig import Rig, rig, until

FIRST = 48_000
TALK = ((1, "hello world"), (0, "stop"), (1, "and then"))
WHOSE = [(word, str(speaker)) for speaker, text in TALK for word in text.split()]


@asynccontextmanager
async def talking(
    server: DeepgramServer, **settings: Any
) -> AsyncGenerator[tuple[DeepgramSession, AsyncGenerator[Hypothesis, None]], None]:
    """A session of that server and its results."""
    async with server.serving(), AsyncExitStack() as ending:
        engine = DeepgramEngine(DeepgramSettings(url=server.url, **settings), KEY)
        ending.push_async_callback(engine.close)
        session = await engine.open()
        yield session, session.results()


def say(session: DeepgramSession, number: int, first: int, text: str, packet: int = 640) -> None:
    """A whole utterance in packets of so many bytes."""
    session.begin(number, first)
    sound = voice(text)
    for at in range(0, len(sound), packet):
        session.feed(sound[at : at + packet])
    session.finish()


async def finals(results: AsyncGenerator[Hypothesis, None], count: int) -> list[Hypothesis]:
    """The next so many."""
    found: list[Hypothesis] = []
    async for guess in results:
        if guess.final:
            found.append(guess)
            if len(found) == count:
                break
    return found


# -- the connection ------------------------------------------------------------------------------


async def test_words_come_back_at_the_samples_of_the_call() -> None:
    server = DeepgramServer()
    async with talking(server) as (session, results):
        say(session, 1, FIRST, "what is seven plus five")
        say(session, 2, FIRST + 80_000, "stop")
        first, second = await finals(results, 2)
    assert (first.text, second.text) == ("what is seven plus five", "stop")
    assert [word.start for word in first.words] == [FIRST + 2400 * n for n in range(5)]
    assert (second.start, second.words[0].start) == (FIRST + 80_000,) * 2
    assert session.dead == "Deepgram closed the connection with code 1000"
    assert server.orders == ["Finalize", "Finalize", "CloseStream"]


async def test_partials_come_while_he_speaks_and_a_pause_is_settled() -> None:
    server = DeepgramServer()
    async with talking(server) as (session, results):
        session.begin(1, 0)
        session.feed(voice("hello"))
        session.feed(voice("world"))
        session.settle()
        said = []
        async for guess in results:
            said.append(guess)
            if guess.settled:
                break
        session.resume()
        session.feed(voice("stop"))
        session.finish()
        (final,) = await finals(results, 1)
    assert said[0].text == "hello"
    assert not said[0].final
    assert (said[-1].text, said[-1].final) == ("hello world", False)
    assert final.text == "hello world stop"


async def test_a_settled_pause_that_was_the_end_needs_no_further_answer() -> None:
    server = DeepgramServer()
    async with talking(server) as (session, results):
        session.begin(1, 0)
        session.feed(voice("hello"))
        session.settle()
        async for guess in results:
            if guess.settled:
                break
        session.finish()
        (final,) = await finals(results, 1)
        assert server.orders == ["Finalize"]
    assert final.text == "hello"


async def test_an_unanswered_finalize_ends_the_utterance_after_a_wait() -> None:
    server = DeepgramServer()
    server.faults.deaf_to_finalize = True
    async with talking(server, finalize_wait_s=0.05) as (session, results):
        session.begin(1, 0)
        session.feed(voice("hello world and then"))
        assert (await anext(results)).text == "hello world and then"
        session.finish()
        (final,) = await finals(results, 1)
    assert final.text == "hello world and then"


async def test_keep_alive_holds_a_silent_connection() -> None:
    server = DeepgramServer(idle_s=0.2)
    async with talking(server, keep_alive_s=0.05) as (session, results):
        await server.until(lambda: server.orders.count("KeepAlive") >= 6)
        say(session, 1, 0, "hello")
        assert (await finals(results, 1))[0].text == "hello"


async def test_without_it_the_server_would_have_closed() -> None:
    async with talking(DeepgramServer(idle_s=0.05), keep_alive_s=60) as (_, results):
        with pytest.raises(EngineError, match=r"1011 \(NET-0001\)"):
            await anext(results)


async def test_he_who_spoke_is_told_word_by_word() -> None:
    server = DeepgramServer(speakers=True)
    async with talking(server, diarize=True) as (session, results):
        session.begin(1, 0)
        for speaker, text in TALK:
            session.feed(voice(text, speaker))
        session.finish()
        (final,) = await finals(results, 1)
        say(session, 2, FIRST, "hello")
        (alone,) = await finals(results, 1)
    assert [(word.text, word.speaker) for word in final.words] == WHOSE
    assert (final.speaker, alone.speaker, alone.words[0].speaker) == ("1", "0", "0")
    assert "diarize=true" in server.asked[0]


@pytest.mark.parametrize("code", [1008, 1011, 4000])
async def test_a_close_code_is_the_reason_kept(code: int) -> None:
    server = DeepgramServer()
    server.faults.close_code, server.faults.close_after = code, 3000
    async with talking(server) as (session, results):
        say(session, 1, 0, "hello world")
        with pytest.raises(EngineError, match=rf"code {code} \(as told\)"):
            await finals(results, 1)
        assert str(code) in session.dead
        with pytest.raises(EngineError, match=str(code)):
            session.feed(b"\0\0")


async def test_a_reset_is_no_riddle() -> None:
    server = DeepgramServer()
    server.faults.close_code, server.faults.close_after = 0, 3000
    async with talking(server) as (session, results):
        say(session, 1, 0, "hello world")
        with pytest.raises(EngineError, match="broke off without a close code"):
            await finals(results, 1)


async def test_garbage_ends_the_session() -> None:
    server = DeepgramServer()
    server.faults.garbage = True
    async with talking(server) as (session, results):
        say(session, 1, 0, "hello")
        with pytest.raises(EngineError, match="no message of its protocol"):
            await finals(results, 1)


async def test_a_hang_shows_in_what_was_worked_on() -> None:
    server = DeepgramServer()
    server.faults.stall = True
    async with talking(server) as (session, _):
        session.begin(1, 0)
        session.feed(voice("hello"))
        await server.until(lambda: server.received == len(voice("hello")))
        assert session.worked_on == 0


async def test_silence_of_the_server_is_never_taken_for_silence_of_the_caller() -> None:
    server = DeepgramServer()
    server.faults.stall = True
    async with talking(server, finalize_wait_s=0.05) as (session, results):
        say(session, 1, 0, "hello world stop")
        with pytest.raises(EngineError, match=r"0\.5 s of sound unanswered"):
            await finals(results, 1)
        assert "unanswered" in session.dead


async def test_results_in_the_wrong_order_cost_no_word() -> None:
    server = DeepgramServer()
    server.faults.swapped = True
    async with talking(server, finalize_wait_s=0.2) as (session, results):
        say(session, 1, 0, "hello world", packet=3200)
        assert (await finals(results, 1))[0].text == "hello world"


# -- the engine ----------------------------------------------------------------------------------


async def test_a_wrong_key_keeps_the_actor_from_being_ready_and_is_never_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    server = DeepgramServer()
    async with server.serving():
        engine = DeepgramEngine(DeepgramSettings(url=server.url), "wrong-but-secret")
        with pytest.raises(KeyRefused, match="DEEPGRAM_API_KEY") as refused:
            await engine.load()
        good = DeepgramEngine(DeepgramSettings(url=server.url), KEY)
        await good.load()
        await good.close()
    assert "INVALID_AUTH" in str(refused.value)
    assert "secret" not in caplog.text + str(refused.value)
    with pytest.raises(EngineError, match="closed"):
        await good.open()


async def test_the_servers_own_words_are_cleaned_of_the_key(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Live and recorded, refused, closed, answered with garbage and with words, at the level DEBUG."""
    caplog.set_level(logging.DEBUG)
    server, told = DeepgramServer(), []
    faults = server.faults
    faults.says, faults.refuse = f"Token {KEY} may not " + "x" * 400, 403
    async with server.serving(), batch(server) as recorded, AsyncExitStack() as ending:
        engine = DeepgramEngine(DeepgramSettings(url=server.url), KEY)
        ending.push_async_callback(engine.close)
        for tried in (engine.load(), recorded.transcribe(voice("stop"), 0)):
            with pytest.raises(KeyRefused, match=r"\(Token \*\*\* may not x+\)") as refused:
                await tried
            told.append(str(refused.value))
        faults.refuse, faults.close_code, faults.says = 0, 1008, f"{KEY} is used up"
        session = await engine.open()
        say(session, 1, 0, "stop")
        with pytest.raises(EngineError, match=r"\*\*\* is used up"):
            await finals(session.results(), 1)
        faults.garbage = True
        with pytest.raises(EngineError, match="none of its protocol") as garbage:
            await recorded.transcribe(voice("stop"), 0)
        faults.garbage = False
        assert (await recorded.transcribe(voice("stop"), 0)).text == "stop"
        told += [str(garbage.value), session.dead, caplog.text, *capsys.readouterr()]
    assert KEY not in "".join(told)
    assert "HTTP Request: POST" in caplog.text


async def test_no_key_is_said_at_once() -> None:
    for engine in (DeepgramEngine(DeepgramSettings(), ""), DeepgramBatch(DeepgramSettings(), "")):
        with pytest.raises(KeyRefused, match="set DEEPGRAM_API_KEY"):
            await engine.load()
        await engine.close()


async def test_a_server_that_is_away_does_not_keep_the_actor_from_starting() -> None:
    engine = DeepgramEngine(DeepgramSettings(url=f"ws://127.0.0.1:{free_port()}/v1/listen"), KEY)
    await engine.load()
    with pytest.raises(EngineError, match="can't be reached"):
        await engine.open()
    await engine.close()


@pytest.mark.parametrize(
    ("status", "said"), [(402, "paid"), (429, "too many"), (503, "tried again")]
)
async def test_each_refusal_says_what_to_do(status: int, said: str) -> None:
    server = DeepgramServer()
    server.faults.refuse = status
    async with server.serving():
        engine = DeepgramEngine(DeepgramSettings(url=server.url), KEY)
        with pytest.raises(EngineError, match=said):
            await engine.open()
        await engine.close()


async def test_an_address_that_is_none() -> None:
    engine = DeepgramEngine(DeepgramSettings(url="nonsense"), KEY)
    with pytest.raises(EngineError, match=r"mend deepgram\.url"):
        await engine.open()


# -- recorded sound ------------------------------------------------------------------------------


@asynccontextmanager
async def batch(server: DeepgramServer) -> AsyncGenerator[DeepgramBatch, None]:
    async with prerecorded(server) as url:
        made = DeepgramBatch(DeepgramSettings(url=url), KEY)
        try:
            yield made
        finally:
            await made.close()


async def test_recorded_sound_is_transcribed_at_its_place() -> None:
    async with batch(DeepgramServer()) as engine:
        await engine.load()
        guess = await engine.transcribe(voice("seven plus five"), FIRST)
    assert (guess.text, guess.start, guess.end) == ("seven plus five", FIRST, FIRST + 7200)
    assert [word.start for word in guess.words] == [FIRST, FIRST + 2400, FIRST + 4800]


async def test_recorded_sound_has_its_speakers() -> None:
    async with batch(DeepgramServer(speakers=True)) as engine:
        guess = await engine.transcribe(b"".join(voice(text, who) for who, text in TALK), FIRST)
    assert [(word.text, word.speaker) for word in guess.words] == WHOSE
    assert guess.speaker == "1"


@pytest.mark.parametrize(
    ("status", "said"), [(429, "too many"), (500, "tried again"), (400, "check")]
)
async def test_a_batch_that_is_refused_says_what_to_do(status: int, said: str) -> None:
    server = DeepgramServer()
    server.faults.refuse = status
    async with batch(server) as engine:
        with pytest.raises(EngineError, match=said):
            await engine.transcribe(voice("stop"), 0)


async def test_a_batch_answer_that_is_none_and_a_cancelled_one() -> None:
    server = DeepgramServer()
    server.faults.garbage = True
    async with batch(server) as engine:
        with pytest.raises(EngineError, match="none of its protocol"):
            await engine.transcribe(voice("stop"), 0)
        server.faults.late = asyncio.Event()
        waiting = asyncio.create_task(engine.transcribe(voice("stop"), 0))
        await server.until(lambda: len(server.asked) == 2)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        server.faults.late.set()


# -- in stt, end to end --------------------------------------------------------------------------


class Talk:
    """One call in a real stt, its words from two servers: a live one and one for recorded sound."""

    def __init__(self, agent: Rig, actor: SttActor, sounds: Sounds) -> None:
        self._agent, self._actor, self._sounds = agent, actor, sounds
        self.ends = [0, 0]

    async def opens(self, channels: int) -> None:
        self._agent.publish(CallOpened(call="C", line="test", channels=channels))
        await until(lambda: self._actor.gauges()["open_sessions"] == channels)

    async def says(self, pcm: bytes, channel: int = 0, done: bool = True) -> int:
        """A second of silence, then this; its onset. Lanes keep no order: each event is waited for."""
        onset = await self.hears(bytes(2 * RATE), channel)
        known = self._actor._streams["C", channel].channel
        self._agent.publish(SpeechStarted(call="C", onset=onset, channel=channel))
        await until(lambda: known.current is not None and known.current.onset == onset)
        await self.hears(pcm, channel)
        if done:
            await self.pauses(onset, channel)
        return onset

    async def pauses(self, onset: int, channel: int = 0) -> None:
        known, end = self._actor._streams["C", channel].channel, self.ends[channel]
        self._agent.publish(
            SpeechEnded(call="C", onset=onset, end=end, voiced=end - onset, channel=channel)
        )
        await until(lambda: known.current is None)

    async def hears(self, pcm: bytes, channel: int = 0) -> int:
        """Into the journal as audio_in does it, and onto the bus; the sample after it."""
        for at in range(0, len(pcm), 640):
            first, frame = self.ends[channel], pcm[at : at + 640]
            self._sounds.keep("C", first, frame, channel)
            self._agent.publish(CallerPcm(call="C", first=first, pcm=frame, channel=channel))
            self.ends[channel] += len(frame) // 2
        known = self._actor._streams["C", channel].channel
        await until(lambda: known.heard_to == self.ends[channel])
        return self.ends[channel]

    async def hangs_up(self, channels: int) -> None:
        self._agent.publish(CallClosed(call="C", reason="hangup"))
        await until(lambda: sum(told.last for told in self._sounds.last) == channels)


@asynccontextmanager
async def in_stt(
    folder: Path, live: DeepgramServer, recorded: DeepgramServer, clock: ReplayClock, **wants: Any
) -> AsyncGenerator[tuple[Rig, SttActor, Talk]]:
    """stt on Deepgram, and the breaker, whose clock stands still."""
    sounds = Sounds(folder / "journal")
    await sounds.load()
    sounds.journal.journals.opened("C")  # as audio_in does
    hears = (Final, SttDegraded, SttRecovered, EngineFailed, BreakerChanged)
    async with asyncio.timeout(40), AsyncExitStack() as ending:
        await ending.enter_async_context(live.serving())
        url = await ending.enter_async_context(prerecorded(recorded))
        engine = DeepgramEngine(DeepgramSettings(url=live.url, **wants), KEY)
        batch = DeepgramBatch(DeepgramSettings(url=url, **wants), KEY)
        agent = await ending.enter_async_context(rig(*hears))
        breaker = BreakerActor(threshold=2, reset_s=1.0)
        running = agent.running(breaker, clock=clock, heartbeat_ms=3_600_000)
        await ending.enter_async_context(running)
        asker = Asker(agent.context, agent.where, "breaker")
        ending.callback(asker.close)
        kit = Kit(engine, batch, sounds, Anyone(), "deepgram", batch_interval_s=0.1)
        kit.thrown = lambda: 0.0
        actor = SttActor(engine, kit=kit, transcripts=folder)
        runtime = await ending.enter_async_context(agent.running(actor))
        kit.leave = Breaker(asker, "stt", runtime.stamper.inc)
        yield agent, actor, Talk(agent, actor, sounds)


PREROLL = 6400
SECOND = 1_000_000_000


@pytest.mark.parametrize("code", [1011, 0])
async def test_stt_loses_no_word_when_the_connection_ends_in_mid_sentence(
    tmp_path: Path, code: int
) -> None:
    """One of two channels: dead, degraded, refused, transcribed in batch, probed, back.

    The circuit in between is the real breaker's. Each word is there once, at its place, and the other
    channel goes on in its own session all the time.
    """
    server, recorded = DeepgramServer(), DeepgramServer()
    text, clock = "what is seven plus five", ReplayClock(SECOND)
    async with in_stt(tmp_path, server, recorded, clock) as (agent, actor, talk):
        await talk.opens(channels=2)
        assert server.connections == 3  # one tried the key
        await talk.says(voice("hello"), channel=1)
        assert (await agent.heard(Final, channel=1)).text == "hello"
        server.faults.close_code, server.faults.close_after = code, 2 * PREROLL + 3 * 4800
        server.faults.refuse = 503
        onset = await talk.says(voice(text), done=False)
        degraded = await agent.heard(SttDegraded)
        assert ("1011" if code else "broke off") in degraded.why
        server.faults.close_code = None
        opened = await agent.heard(BreakerChanged, service="stt", state="open")
        assert (opened.endpoint, opened.failures) == ("deepgram", 2)
        await until(lambda: not actor._streams["C", 0]._recovering)
        tries = len(server.asked)

        await talk.pauses(onset)
        assert (await agent.heard(Final, channel=0)).text == text
        await talk.says(voice("and then"), channel=1)
        assert (await agent.heard(Final, 2, channel=1)).text == "and then"
        assert not (await actor.kit.leave.ask("stt", "deepgram", "C")).granted
        assert actor.gauges() == {"open_sessions": 1.0, "degraded_sessions": 1.0}
        assert len(server.asked) == tries
        assert len(recorded.asked) == 1

        clock.set(clock.now() + SECOND)
        failed = await agent.heard(BreakerChanged, service="stt", was="half_open", state="open")
        assert "503" in failed.reason
        assert len(server.asked) == tries + 1
        server.faults.refuse = 0
        clock.set(clock.now() + SECOND)
        await agent.heard(BreakerChanged, service="stt", was="half_open", state="closed")
        back = await agent.heard(SttRecovered)
        assert (back.channel, len(agent.past(SttRecovered)), server.connections) == (0, 1, 4)
        await talk.says(voice("stop"))
        assert (await agent.heard(Final, 2, channel=0)).text == "stop"
        await talk.hangs_up(channels=2)
    segments, _, problem = transcript(tmp_path / "C.jsonl")
    assert problem == ""
    for channel, said in enumerate(([("batch", text), ("live", "stop")], LIVE_ALL_ALONG)):
        mine = [segment for segment in segments if segment.channel == channel]
        assert problems(mine, talk.ends[channel]) == []
        assert [(one.kind, one.text) for one in mine if one.text] == said
    assert len({one.stt_session for one in segments if one.channel == 1 and one.text}) == 1


LIVE_ALL_ALONG = [("live", "hello"), ("live", "and then")]


async def test_a_segment_ends_where_somebody_else_goes_on(tmp_path: Path) -> None:
    """Live, and in what the batch engine transcribed; the turn gets the words of both."""
    server, recorded = DeepgramServer(speakers=True), DeepgramServer(speakers=True)
    room = in_stt(tmp_path, server, recorded, ReplayClock(SECOND), diarize=True)
    async with room as (agent, _, talk):
        await talk.opens(channels=1)
        sound = b"".join(voice(text, who) for who, text in TALK)
        whole = " ".join(text for _, text in TALK)
        await talk.says(sound)
        assert (await agent.heard(Final)).text == whole
        server.faults.close_code, server.faults.refuse = 1011, 503
        onset = await talk.says(sound, done=False)
        await agent.heard(SttDegraded)
        await talk.pauses(onset)
        pieces = [await agent.heard(Final, number) for number in (2, 3, 4)]
        assert " ".join(piece.text for piece in pieces) == whole
        assert [piece.more for piece in pieces] == [True, True, False]
        await talk.hangs_up(channels=1)
    segments, _, _ = transcript(tmp_path / "C.jsonl")
    assert problems(segments, talk.ends[0]) == []
    said = [(one.kind, one.speaker, one.text) for one in segments if one.text]
    assert said == [
        (kind, f"caller #{1 if who else 2}", text)
        for kind in ("live", "batch")
        for who, text in TALK
    ]
    starts = [one.start for one in segments if one.kind == "live"]
    assert starts == [RATE - PREROLL, RATE + 2 * 2400, RATE + 3 * 2400]


# -- pure ----------------------------------------------------------------------------------------


def test_addresses() -> None:
    live = live_url("wss://host/v1/listen", "nova-3", "en", diarize=False)
    assert live.startswith("wss://host/v1/listen?model=nova-3&language=en&encoding=linear16")
    assert "diarize" not in live
    assert batch_url("wss://host/v1/listen", "m", "de", diarize=True) == (
        "https://host/v1/listen?model=m&language=de&diarize=true"
    )
    assert live_url("ws://host/x?tag=1", "m", "en", diarize=False).startswith(
        "ws://host/x?tag=1&model"
    )


def test_messages_without_words_are_passed_over() -> None:
    assert decode('{"type": "Metadata", "request_id": "x"}') is None
    assert decode('{"type": "SpeechStarted", "channel": [0], "timestamp": 1.0}') is None
    bare = '{"type":"Results","start":1,"duration":0.5,"channel":{"alternatives":[{"transcript":"hi"}]}}'
    results = decode(bare)
    assert results is not None
    assert results.words == (Said("hi", 1.0, 1.5),)
    for wrong in ("", "[]", '{"type": "Results"}', b"\xff"):
        with pytest.raises(EngineError):
            decode(wrong)


@given(st.data())
def test_every_word_is_told_once_whatever_the_cut_of_the_results(data: st.DataObject) -> None:
    """Utterances of words, results that end anywhere: final pieces in order, interim ones between."""
    lengths = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5), label="words of each")
    ledger, texts = Ledger(), []
    words: list[Said] = []
    finals: list[Hypothesis] = []
    final_to = 0
    for number, count in enumerate(lengths):
        ledger.begin(number, number * 100_000)
        for _ in range(count):
            start = ledger.sent / RATE
            ledger.fed(3200)
            words.append(Said(f"w{len(words)}", start + 0.02, start + 0.18))
            if data.draw(st.booleans(), label="results now"):
                final = data.draw(st.booleans(), label="final")
                finals += _given(ledger, words, final_to, ledger.sent, final=final)
                final_to = ledger.sent if final else final_to
        texts.append(" ".join(word.word for word in words[len(words) - count :]))
        finals += ledger.finish()
    finals += _given(ledger, words, final_to, ledger.sent, final=True)
    finals += [guess for number in range(len(lengths)) for guess in ledger.give_up(number)]
    assert [guess.utterance for guess in finals] == list(range(len(lengths)))
    assert [guess.text for guess in finals] == texts
    assert ledger.late_words == 0
    assert ledger.worked_on == ledger.sent
    for number, guess in enumerate(finals):
        assert guess.start == number * 100_000
        assert all(guess.start <= word.start < word.end <= guess.end for word in guess.words)


def _given(
    ledger: Ledger, words: list[Said], start: int, end: int, *, final: bool
) -> list[Hypothesis]:
    """Results for samples [start, end); the finals they bring."""
    heard = tuple(word for word in words if start <= word.start * RATE < end)
    channel = Heard((Alternative(" ".join(word.word for word in heard), heard),))
    results = Results(start / RATE, (end - start) / RATE, channel, is_final=final)
    return [guess for guess in ledger.take(results) if guess.final]
