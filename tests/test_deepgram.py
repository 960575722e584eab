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

from actors.segments import problems
from actors.stream import Kit
from actors.stt import SttActor
from actors.transcript import read as transcript
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
    CallClosed,
    CallerPcm,
    CallOpened,
    EngineFailed,
    Event,
    Final,
    SpeechEnded,
    SpeechStarted,
    SttDegraded,
    SttRecovered,
)
from tests.counting import Sounds, Turnstile
from tests.fakes.deepgram import KEY, RATE, DeepgramServer, prerecorded, voice
from tests.fleet import free_port
from tests.rig import rig, until

FIRST = 48_000


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
    async with talking(DeepgramServer()) as (session, results):
        say(session, 1, FIRST, "what is seven plus five")
        say(session, 2, FIRST + 80_000, "stop")
        first, second = await finals(results, 2)
    assert (first.text, second.text) == ("what is seven plus five", "stop")
    assert [word.start for word in first.words] == [FIRST + 2400 * n for n in range(5)]
    assert (second.start, second.words[0].start) == (FIRST + 80_000,) * 2
    assert session.dead == "Deepgram closed the connection with code 1000"


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
        say(session, 1, 0, "hello world and then")
        (final,) = await finals(results, 1)
    assert final.text == "hello world and then"


async def test_keep_alive_holds_a_silent_connection() -> None:
    server = DeepgramServer(idle_s=0.2)
    async with talking(server, keep_alive_s=0.05) as (session, results):
        await server.until(lambda: server.orders.count("KeepAlive") == 6)
        say(session, 1, 0, "hello")
        assert (await finals(results, 1))[0].text == "hello"


async def test_without_it_the_server_would_have_closed() -> None:
    async with talking(DeepgramServer(idle_s=0.05), keep_alive_s=60) as (_, results):
        with pytest.raises(EngineError, match=r"1011 \(NET-0001\)"):
            await anext(results)


async def test_he_who_spoke_is_told() -> None:
    server = DeepgramServer(speakers=True)
    async with talking(server, diarize=True) as (session, results):
        say(session, 1, 0, "hello")
        (final,) = await finals(results, 1)
    assert final.speaker == "0"
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


@pytest.mark.parametrize("code", [1011, 0])
async def test_stt_loses_no_word_when_the_connection_ends_in_mid_sentence(
    tmp_path: Path, code: int
) -> None:
    """Live, closed, degraded, refused, transcribed in batch, back: each word once, at its place."""
    server, text, more = DeepgramServer(), "what is seven plus five", "hello world"
    sounds = Sounds(tmp_path / "journal")
    await sounds.load()
    sounds.journal.journals.opened("C")  # as audio_in does
    hears = (Final, SttDegraded, SttRecovered, EngineFailed)
    async with AsyncExitStack() as ending:
        await ending.enter_async_context(server.serving())
        recorded = await ending.enter_async_context(prerecorded(server))
        engine = DeepgramEngine(DeepgramSettings(url=server.url), KEY)
        batch = DeepgramBatch(DeepgramSettings(url=recorded), KEY)
        kit = Kit(engine, batch, sounds, Turnstile(), "deepgram", batch_interval_s=0.1)
        kit.thrown = lambda: 0.0
        agent = await ending.enter_async_context(rig(*hears))
        actor = SttActor(engine, kit=kit, transcripts=tmp_path)
        runtime = await ending.enter_async_context(agent.running(actor))
        told = 0

        async def tell(event: Event) -> None:
            """Lanes keep no order between them: what comes next comes after this."""
            nonlocal told
            told += 1
            agent.publish(event)
            await until(lambda: runtime.link.counts["received"] >= told)

        async def hear(first: int, pcm: bytes) -> int:
            for at in range(0, len(pcm), 640):
                frame = pcm[at : at + 640]
                sounds.keep("C", first + at // 2, frame)
                await tell(CallerPcm(call="C", first=first + at // 2, pcm=frame))
            return first + len(pcm) // 2

        async def ends(onset: int, end: int) -> None:
            await tell(SpeechEnded(call="C", onset=onset, end=end, voiced=end - onset))

        await tell(CallOpened(call="C", line="test"))
        await until(lambda: bool(server.connections))
        server.faults.close_code, server.faults.close_after = code, 3 * 3200
        onset = await hear(0, bytes(RATE))
        await tell(SpeechStarted(call="C", onset=onset))
        end = await hear(onset, voice(text))
        degraded = await agent.heard(SttDegraded)
        assert ("1011" if code else "broke off") in degraded.why
        server.faults.close_code = None
        await agent.heard(SttRecovered)
        await ends(onset, end)
        assert (await agent.heard(Final)).text == text
        onset = await hear(end, bytes(RATE))
        await tell(SpeechStarted(call="C", onset=onset))
        end = await hear(onset, voice(more))
        await ends(onset, end)
        await until(lambda: len(agent.past(Final)) == 2)
        end = await hear(end, bytes(RATE))
        await tell(CallClosed(call="C", reason="hangup"))
        await until(lambda: bool(sounds.last) and sounds.last[-1].last)
    segments, _, problem = transcript(tmp_path / "C.jsonl")
    assert problem == ""
    assert problems(segments, end) == []
    assert " ".join(segment.text for segment in segments if segment.text) == f"{text} {more}"


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
