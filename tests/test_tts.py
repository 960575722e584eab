"""tts on in-proc sockets: speech is stopped by CANCEL, waited for, and nothing stale gets out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from actors.tts import TtsActor
from engines.protocols import Chunk, Spoken
from schemas import Interject, LlmFinished, Sentence, Speech, SpokenWords
from tests.rig import rig

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
        asyncio.timeout(5),
        rig(Speech, SpokenWords, roster=("tts",)) as agent,
        agent.running(TtsActor(voice, lead_s=1000)),
    ):
        agent.publish(Sentence(call=CALL, turn=7, index=0, text="once"))
        assert (await agent.heard(Speech)).pcm == b"onceonce"
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
    async with asyncio.timeout(5), room as agent, agent.running(TtsActor(Word())):
        agent.publish(Interject(call=CALL, turn=1, text="one moment"))
        agent.publish(Sentence(call=CALL, turn=1, index=0, text="ten", notice=True))
        await agent.heard(Speech, 2)
        assert [(one.first, one.notice) for one in agent.past(Speech)] == [(0, False), (80, True)]
        said = [(one.sentence, one.text, one.words[0].start) for one in agent.past(SpokenWords)]
        assert said == [(-1, "one moment", 10), (0, "ten", 90)]


async def test_the_end_of_the_answer_is_marked_and_positions_run_on() -> None:
    async with (
        asyncio.timeout(5),
        rig(Speech, SpokenWords) as agent,
        agent.running(TtsActor(Word())),
    ):
        for index, text in enumerate(("one", "two")):
            agent.publish(Sentence(call=CALL, turn=1, index=index, text=text))
        agent.publish(LlmFinished(call=CALL, turn=1, sentences=2, tokens=2))
        last = await agent.heard(Speech, last=True)
        assert (last.first, last.rate, last.error) == (160, 8000, "")
        words = [(w.text, w.start) for said in agent.past(SpokenWords) for w in said.words]
        assert words == [("one", 10), ("two", 90)]
