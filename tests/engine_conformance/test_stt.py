"""Any SttEngine: one final per utterance, in order, at its samples; nothing is left behind."""

from __future__ import annotations

import asyncio

import pytest

from engines.protocols import EngineError
from tests.engine_conformance.kit import CLOSING_S, SttCase, finals, held, opened, utter

FIRST = 160_000
GROWTH_MB = 30.0


async def test_each_utterance_has_one_final_in_order_at_its_samples(stt: SttCase) -> None:
    (hello, words), (bye, more) = stt.said
    async with stt.making() as engine, opened(engine) as session:
        utter(session, 1, FIRST, hello)
        utter(session, 2, 2 * FIRST, bye)
        utter(session, 3, 3 * FIRST, bytes(3200))
        done, partials = await finals(session, 3)
    assert [guess.utterance for guess in done] == [1, 2, 3]
    assert [guess.text for guess in done[:2]] == [words, more]
    for guess, begin, sound in zip(done, (1, 2, 3), (hello, bye, bytes(3200)), strict=True):
        assert (guess.start, guess.end) == (begin * FIRST, begin * FIRST + len(sound) // 2)
        edges = [edge for word in guess.words for edge in (word.start, word.end)]
        assert edges == sorted(edges)
        assert all(guess.start <= edge <= guess.end for edge in edges)
        assert " ".join(word.text for word in guess.words) == guess.text
    assert all(not guess.final and guess.utterance in (1, 2, 3) for guess in partials)


async def test_packets_of_any_length_are_the_same_words(stt: SttCase) -> None:
    (hello, words), _ = stt.said
    async with stt.making() as engine, opened(engine) as session:
        utter(session, 1, 0, hello, packets=(2, 5000, 320, 33_332))
        done, _ = await finals(session, 1)
    assert done[0].text == words


async def test_two_calls_at_once_hear_their_own_words(stt: SttCase) -> None:
    (hello, words), (bye, more) = stt.said
    async with stt.making() as engine, opened(engine) as one, opened(engine) as other:
        one.begin(1, 0)
        other.begin(1, 0)
        for at in range(0, max(len(hello), len(bye)), 640):
            one.feed(hello[at : at + 640])
            other.feed(bye[at : at + 640])
        one.finish()
        other.finish()
        (mine, _), (theirs, _) = await finals(one, 1), await finals(other, 1)
    assert (mine[0].text, theirs[0].text) == (words, more)


async def test_a_session_is_closed_at_any_moment_and_the_next_is_whole(stt: SttCase) -> None:
    (hello, words), _ = stt.said
    async with stt.making() as engine:
        for phase in ("fresh", "begun", "fed", "finished", "done", "twice"):
            session = await engine.open()
            if phase != "fresh":
                session.begin(1, 0)
            if phase not in ("fresh", "begun"):
                session.feed(hello)
            if phase not in ("fresh", "begun", "fed"):
                session.finish()
            if phase == "done":
                await finals(session, 1)
            async with asyncio.timeout(CLOSING_S):
                await session.close()
                if phase == "twice":
                    await session.close()
            rest = [guess async for guess in session.results()]
            assert len([guess for guess in rest if guess.final]) <= 1, phase
        async with opened(engine) as other:
            utter(other, 1, 0, hello)
            assert (await finals(other, 1))[0][0].text == words


async def test_after_an_engine_was_closed_another_one_serves(stt: SttCase) -> None:
    """The first is closed over the head of a session in mid-utterance."""
    (hello, words), _ = stt.said
    async with stt.making() as engine:
        session = await engine.open()
        session.begin(1, 0)
        session.feed(hello)
    async with asyncio.timeout(CLOSING_S):
        assert not [guess async for guess in session.results() if guess.final]
        await session.close()
    async with stt.making() as engine, opened(engine) as other:
        utter(other, 1, 0, hello)
        assert (await finals(other, 1))[0][0].text == words


async def test_orders_out_of_turn_are_refused(stt: SttCase) -> None:
    async with stt.making() as engine, opened(engine) as session:
        for order in (session.finish, lambda: session.feed(b"\0\0")):
            with pytest.raises(EngineError):
                order()
        session.begin(1, 0)
        with pytest.raises(EngineError):
            session.begin(2, 0)
    with pytest.raises(EngineError):
        await engine.open()


async def test_sessions_leave_nothing_behind(stt: SttCase) -> None:
    """A third of them in mid-utterance."""
    async with stt.making() as engine:
        for warm in (True, False):
            before = held()
            for number in range(3 if warm else stt.cycles):
                async with opened(engine) as session:
                    session.begin(1, 0)
                    session.feed(bytes(6400))
                    if number % 3:
                        session.finish()
                        await finals(session, 1)
        after = held()
    assert (after.threads, after.files) <= (before.threads + 1, before.files + 4)
    assert after.children <= before.children + 1
    assert after.rss_mb - before.rss_mb < GROWTH_MB
