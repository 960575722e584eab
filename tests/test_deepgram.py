"""Sound goes over real sockets to a server of Deepgram's protocol; words, or a reason, come back."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from engines.batch_deepgram import DeepgramBatch
from engines.protocols import EngineError, Hypothesis
from engines.stt_deepgram import DeepgramEngine, DeepgramSession, DeepgramSettings, KeyRefused
from tests.fakes.deepgram import KEY, TALK, WHOSE, DeepgramServer, recorded, voice
from tests.fleet import free_port

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
    async with server.serving(), recorded(server) as asked, AsyncExitStack() as ending:
        engine = DeepgramEngine(DeepgramSettings(url=server.url), KEY)
        ending.push_async_callback(engine.close)
        for tried in (engine.load(), asked.transcribe(voice("stop"), 0)):
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
            await asked.transcribe(voice("stop"), 0)
        faults.garbage = False
        assert (await asked.transcribe(voice("stop"), 0)).text == "stop"
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
