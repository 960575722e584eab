"""tts on in-proc sockets: speech is stopped by CANCEL, waited for, and nothing stale gets out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import pytest

from actors.build import voices_of
from actors.tts import TtsActor
from bus.sections import Tts
from bus.settings import Settings
from engines.protocols import Chunk, EngineError, Spoken
from schemas import (
    EngineFailed,
    EngineWorked,
    Event,
    Interject,
    LlmFinished,
    Part,
    Resume,
    Sentence,
    Speech,
    SpokenWords,
)
from tests.rig import Rig, rig, until

CALL = "C1"


class Endless:
    """A voice that never runs out of breath."""

    rate = 16_000

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def load(self) -> None:
        self.closed.clear()

    async def close(self) -> None:
        pass

    async def stream(self, text: str) -> AsyncGenerator[Chunk, None]:
        try:
            while True:
                yield Chunk(text.encode() * 2, (Spoken(text, 0, len(text)),))
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            self.closed.set()


async def test_cancel_stops_speech_and_waits_and_nothing_stale_follows() -> None:
    voice = Endless()
    async with (
        asyncio.timeout(40),
        rig(Speech, SpokenWords, roster=("tts",)) as agent,
        agent.running(TtsActor(voice, lead_s=1000)),
    ):
        agent.publish(Sentence(call=CALL, turn=7, index=0, text="once"))
        assert (await agent.heard(Speech, 4)).pcm == b"onceonce"
        table = await agent.cancel(CALL, 7)
        assert voice.closed.is_set()
        assert [(row.actor, row.verdict) for row in table.rows] == [("tts", "released")]
        assert table.rows[0].stopped["synthesised_ms"]
        agent.publish(Sentence(call=CALL, turn=7, index=1, text="stale"))
        agent.publish(Sentence(call=CALL, turn=8, index=0, text="sorry"))
        await agent.heard(Speech, turn=8)
        assert not [speech for speech in agent.past(Speech) if b"stale" in speech.pcm]


class Word:
    """A voice that needs 80 samples for anything."""

    rate = 8000

    async def load(self) -> None: ...

    async def close(self) -> None: ...

    async def stream(self, text: str) -> AsyncGenerator[Chunk, None]:
        yield Chunk(bytes(160), (Spoken(text, 10, 60),))


async def test_words_thrown_in_come_before_the_answer_and_a_notice_is_passed_on() -> None:
    room = rig(Speech, SpokenWords)
    async with asyncio.timeout(40), room as agent, agent.running(TtsActor(Word())):
        agent.publish(Interject(call=CALL, turn=1, text="one moment"))
        agent.publish(Sentence(call=CALL, turn=1, index=0, text="ten", notice=True))
        await agent.heard(Speech, 2)
        assert [(one.first, one.notice) for one in agent.past(Speech)] == [(0, False), (80, True)]
        await agent.heard(SpokenWords, 2)  # in another lane than the sound
        said = [(one.sentence, one.text, one.words[0].start) for one in agent.past(SpokenWords)]
        assert said == [(-1, "one moment", 10), (0, "ten", 90)]


async def test_the_end_of_the_answer_is_marked_and_positions_run_on() -> None:
    async with (
        asyncio.timeout(40),
        rig(Speech, SpokenWords) as agent,
        agent.running(TtsActor(Word())),
    ):
        for index, text in enumerate(("one", "two")):
            agent.publish(Sentence(call=CALL, turn=1, index=index, text=text))
        agent.publish(LlmFinished(call=CALL, turn=1, sentences=2, tokens=2))
        last = await agent.heard(Speech, last=True)
        assert (last.first, last.rate, last.error) == (160, 8000, "")
        assert await spoken_words(agent, 2) == [("one", 1), ("two", 11)]


# -- the ladder ----------------------------------------------------------------------------------

HEARS: tuple[type[Event], ...] = (Speech, SpokenWords, EngineFailed, EngineWorked)


class Reader:
    """A voice that needs 100 ms a word; after `breath` words it fails, or hangs."""

    def __init__(self, breath: int = 1 << 30, hangs: bool = False, rate: int = 8000) -> None:
        self.rate, self._breath, self._hangs = rate, breath, hangs
        self.asked: list[str] = []
        self.go = asyncio.Event()
        """What a wedged thread waits for, whoever cancels."""
        self.loads = True
        self.loaded = 0
        self.broken: Exception | None = None

    async def load(self) -> None:
        self.loaded += 1
        if self.broken is not None:
            raise self.broken
        if not self.loads:
            raise EngineError("no such voice")

    async def close(self) -> None: ...

    async def stream(self, text: str) -> AsyncGenerator[Chunk, None]:
        self.asked.append(text)
        word = self.rate // 10
        for number, text_of_word in enumerate(text.split()):
            if number == self._breath:
                if not self._hangs:
                    raise EngineError("out of breath")
                await self._hang()
            spoken = Spoken(text_of_word, number * word, (number + 1) * word)
            yield Chunk(bytes(2 * word), (spoken,))

    async def _hang(self) -> None:
        """A thread is stuck in a library: cancels do not get through (three are enough for a test)."""
        for _ in range(4):
            with suppress(asyncio.CancelledError):
                await self.go.wait()
                break
        raise EngineError("got loose")


def sentence(index: int, text: str, turn: int = 1) -> Sentence:
    return Sentence(call=CALL, turn=turn, index=index, text=text)


def ended(sentences: int, turn: int = 1) -> LlmFinished:
    return LlmFinished(call=CALL, turn=turn, sentences=sentences, tokens=1)


async def spoken_words(agent: Rig, count: int) -> list[tuple[str, int]]:
    """Each with its place, ms, once there are `count`: the sound, in another lane, may overtake them."""

    def told() -> list[tuple[str, int]]:
        return [
            (word.text, word.start * 1000 // said.rate)
            for said in agent.past(SpokenWords)
            for word in said.words
        ]

    await until(lambda: len(told()) >= count)
    return told()


@pytest.mark.parametrize("hangs", [False, True], ids=["fails", "hangs"])
async def test_a_voice_that_fails_in_mid_sentence_leaves_the_rest_to_the_next(hangs: bool) -> None:
    """The other one's rate is another; words and sound keep their places."""
    first, second = Reader(2, hangs), Reader(rate=16_000)
    actor = TtsActor({"a": first, "b": second}, stall_ms=20)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor):
        agent.publish(sentence(0, "one two three four"), sentence(1, "five"), ended(2))
        last = await agent.heard(Speech, last=True)
        texts = ("one", "two", "three", "four")
        assert (await spoken_words(agent, 4))[:4] == [
            (text, 100 * n) for n, text in enumerate(texts)
        ]
        assert second.asked == (["three four", "five"] if hangs else ["three four"])
        failed = await agent.heard(EngineFailed)
        assert (failed.service, failed.endpoint) == ("tts", "a")
        if not hangs:
            assert (await agent.heard(EngineWorked)).endpoint == "a"
        assert (last.rate, last.error) == (8000, "")
        sounds = [one for one in agent.past(Speech) if not one.last]
        assert [one.first for one in sounds[1:]] == [one.end for one in sounds[:-1]]
        assert abs(sounds[-1].end - 4000) <= 40  # what a resampler keeps
        assert actor.gauges()["hanging"] == hangs
        first.go.set()
        await until(lambda: actor.gauges()["hanging"] == 0)


async def test_a_cancelled_turn_is_not_released_while_a_voice_still_hangs() -> None:
    first = Reader(0, hangs=True)
    actor = TtsActor({"a": first, "b": Endless()}, stall_ms=20, lead_s=1000)
    room = rig(*HEARS, roster=("tts",))
    async with asyncio.timeout(40), room as agent, agent.running(actor):
        agent.publish(sentence(0, "once"))
        await agent.heard(Speech)
        round_ = asyncio.create_task(agent.cancel(CALL, 1))
        acks = actor.gauges
        await until(lambda: not round_.done() and acks()["hanging"] == 1)
        asyncio.get_running_loop().call_later(0.05, first.go.set)
        table = await round_
        assert table.rows[0].verdict == "released"
        assert (table.rows[0].released_ms or 0) >= 50
        assert actor.gauges()["hanging"] == 0


async def test_when_no_voice_works_the_caller_hears_the_apology_made_beforehand() -> None:
    voice = Reader()
    async with (
        asyncio.timeout(40),
        rig(*HEARS) as agent,
        agent.running(TtsActor({"a": voice}, apology="so sorry")),
    ):
        voice._breath = 1
        agent.publish(sentence(0, "one two"), sentence(1, "three four"), ended(2))
        last = await agent.heard(Speech, last=True)
        assert await spoken_words(agent, 3) == [("one", 0), ("so", 100), ("sorry", 200)]
        assert last.error == "out of breath"
        assert voice.asked == ["so sorry", "one two"]


async def test_a_voice_that_cannot_be_loaded_is_done_without_until_it_can() -> None:
    first, second = Reader(), Reader()
    first.loads = False
    actor = TtsActor({"a": first, "b": second}, load_pause_s=0.001)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor) as runtime:
        agent.publish(sentence(0, "one"))
        await agent.heard(Speech)
        assert actor.gauges()["not_loaded"] == 1
        told = runtime.heartbeat()
        assert (told.state, told.extra["not_loaded"]) == ("ready", 1)
        assert told.detail.startswith("voice 'a' is not loaded, others speak: no such voice (tried")
        first.broken = ValueError("a library's own")
        await until(lambda: "a library's own" in runtime.heartbeat().detail)
        first.loads, first.broken = True, None
        await until(lambda: actor.gauges()["not_loaded"] == 0)
        assert runtime.heartbeat().detail == ""
        agent.publish(sentence(1, "two"))
        await agent.heard(Speech, sentence=1)
        assert (first.asked, second.asked) == (["two"], ["one"])
        assert agent.past(EngineFailed) == []


async def test_no_caller_waits_for_a_voice_to_be_loaded() -> None:
    """Nor does a probe of the breaker: loading may take a minute."""
    first, second = Reader(), Reader()
    first.loads = False
    actor = TtsActor({"a": first, "b": second}, load_pause_s=1000)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor):
        agent.publish(sentence(0, "one"), sentence(1, "two"))
        await agent.heard(Speech, sentence=1)
        with pytest.raises(EngineError, match="no such voice"):
            await actor._probe("a")
        assert (first.loaded, first.asked, second.asked) == (1, [], ["one", "two"])


def test_a_fallback_is_made_by_the_engine_it_names(tmp_path: Path) -> None:
    tts = Tts(engine="chatterbox", voice="default")
    settings = Settings(home=tmp_path, tts=tts)
    voices = voices_of(settings)
    assert {name: type(one).__name__ for name, one in voices.items()} == {
        "chatterbox/default": "ChatterboxVoice",
        "espeak/en": "EspeakVoice",
    }


# -- restarted in mid-answer ---------------------------------------------------------------------


async def test_a_restarted_tts_says_what_is_left_and_nothing_twice() -> None:
    """Sentences that come before the order wait for it; those that come again are known."""
    voice = Reader()
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(TtsActor(voice)):
        agent.publish(sentence(2, "five six"))
        parts = (Part(1, "four.", notice=True), Part(2, "five six"))
        resume = Resume(
            call=CALL, turn=1, parts=parts, next=3, first=4800, rate=16_000, played_ms=300
        )
        agent.publish(resume, resume, sentence(2, "five six"), sentence(3, "seven"))
        agent.publish(ended(4), sentence(1, "four."))
        last = await agent.heard(Speech, last=True)
        words = await spoken_words(agent, 4)
        assert words == [("four.", 300), ("five", 400), ("six", 500), ("seven", 600)]
        assert [one.notice for one in agent.past(Speech)] == [True, False, False, False, False]
        assert (last.first, last.sentence) == (5600, 4)
        assert voice.asked == ["four.", "five six", "seven"]


async def test_a_turn_that_it_began_itself_needs_no_order() -> None:
    voice = Reader()
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(TtsActor(voice)):
        agent.publish(sentence(0, "one"))
        agent.publish(Resume(call=CALL, turn=1, parts=(Part(0, "one"), Part(1, "two")), next=2))
        agent.publish(sentence(1, "two"), ended(2))
        await agent.heard(Speech, last=True)
        assert await spoken_words(agent, 2) == [("one", 0), ("two", 100)]


async def test_an_answer_of_which_all_was_spoken_is_only_ended() -> None:
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(TtsActor(Reader())):
        agent.publish(Resume(call=CALL, turn=1, next=1, last=True, first=800, rate=8000))
        last = await agent.heard(Speech, last=True)
        assert (last.first, last.pcm) == (800, b"")
