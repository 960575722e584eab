"""stt on in-proc sockets: which samples the recogniser is given, and what becomes of its words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import numpy as np

from actors.channel import LEAST_PREROLL
from actors.stt import SttActor
from bus.runtime import Runtime
from engines.protocols import Hypothesis, Spoken
from schemas import (
    CallClosed,
    CallerPcm,
    CallOpened,
    Event,
    Final,
    Partial,
    SecondLook,
    SpeechContinued,
    SpeechEnded,
    SpeechStarted,
    TurnEnded,
    TurnStarted,
)
from tests.rig import Rig, rig, until

CALL = "C1"
FRAME = 320
ONSET = 16_000
PREROLL = 400 * 16
HEARS: tuple[type[Event], ...] = (Partial, Final, SecondLook)


class Echo:
    """A session that understands sample numbers: each sample's value is its number modulo 2**15."""

    def __init__(self) -> None:
        self._results: asyncio.Queue[Hypothesis | None] = asyncio.Queue()
        self._utterance = self._first = 0
        self.heard = np.zeros(0, np.int16)
        self.closed = False
        self.looks = True
        self.orders: list[tuple[str, int]] = []

    def begin(self, utterance: int, first: int) -> None:
        self._utterance, self._first = utterance, first
        self.heard = np.zeros(0, np.int16)

    def feed(self, pcm: bytes) -> None:
        self.heard = np.concatenate([self.heard, np.frombuffer(pcm, np.int16)])

    def finish(self) -> None:
        end = self._first + len(self.heard)
        text = "silence" if not self.heard.all() else "whole"
        words = (Spoken(text, self._first, end),)
        guess = Hypothesis(self._utterance, text, self._first, end, final=True, words=words)
        self._results.put_nowait(guess)

    def look_again(self) -> bool:
        if not self.looks:
            return False
        end = self._first + len(self.heard)
        guess = Hypothesis(self._utterance, "again", self._first, end, False, second=12.5)
        self._results.put_nowait(guess)
        return True

    def settle(self) -> None:
        self.orders.append(("settle", len(self.heard)))

    def resume(self) -> None:
        self.orders.append(("resume", len(self.heard)))

    def partial(self, text: str) -> None:
        end = self._first + len(self.heard)
        guess = Hypothesis(self._utterance, text, self._first, end, final=False)
        self._results.put_nowait(guess)

    async def results(self) -> AsyncGenerator[Hypothesis, None]:
        while (guess := await self._results.get()) is not None:
            yield guess

    async def close(self) -> None:
        self.closed = True
        self._results.put_nowait(None)


class Echoes:
    """An engine of such sessions."""

    def __init__(self) -> None:
        self.sessions: list[Echo] = []

    async def load(self) -> None: ...

    async def close(self) -> None: ...

    async def open(self) -> Echo:
        self.sessions.append(Echo())
        return self.sessions[-1]


def sound(first: int, samples: int = FRAME) -> CallerPcm:
    numbers = np.arange(first, first + samples) % 32_767 + 1
    return CallerPcm(call=CALL, first=first, pcm=numbers.astype(np.int16).tobytes())


def say(agent: Rig, start: int, end: int, skip: range = range(0)) -> None:
    """Frames of [start, end); those that begin in `skip` are lost on the way."""
    agent.publish(*(sound(first) for first in range(start, end, FRAME) if first not in skip))


async def taken(stt: Runtime, messages: int) -> None:
    """Until stt has received that many: media and events are two lanes, in no order."""
    await until(lambda: stt.link.counts["received"] >= messages)


async def fed(engine: Echoes, samples: int) -> None:
    """Until the newest session was given that many samples."""
    await until(lambda: bool(engine.sessions) and len(engine.sessions[-1].heard) >= samples)


async def test_the_words_before_the_onset_are_fed_too() -> None:
    engine = Echoes()
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(SttActor(engine)) as stt:
        say(agent, 0, ONSET + 3200)
        await taken(stt, (ONSET + 3200) // FRAME)
        agent.publish(SpeechStarted(call=CALL, onset=ONSET))
        await fed(engine, PREROLL + 3200)
        say(agent, ONSET + 3200, ONSET + 6400)
        await fed(engine, PREROLL + 6400)
        agent.publish(SpeechEnded(call=CALL, onset=ONSET, end=ONSET + 6000, voiced=6000))
        final = await agent.heard(Final)
        assert (final.text, final.start, final.end) == ("whole", ONSET - PREROLL, ONSET + 6400)
        assert final.utterance == ONSET
        assert final.words[0].start == ONSET - PREROLL
        assert engine.sessions[0].heard.tolist() == [
            number % 32_767 + 1 for number in range(ONSET - PREROLL, ONSET + 6400)
        ]


async def test_who_begins_above_another_has_his_first_syllables_too() -> None:
    """The other went on until then, and was given them, too."""
    engine, above = Echoes(), ONSET + 9600
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(SttActor(engine)) as stt:
        say(agent, 0, above + 1600)
        await taken(stt, (above + 1600) // FRAME)
        agent.publish(SpeechStarted(call=CALL, onset=ONSET))
        await fed(engine, PREROLL + 9600 + 1600)
        ended = SpeechEnded(call=CALL, onset=ONSET, end=above, voiced=9600, masked=True)
        agent.publish(ended, SpeechStarted(call=CALL, onset=above))
        await until(lambda: len(engine.sessions[0].heard) == LEAST_PREROLL + 1600)
        first = above - LEAST_PREROLL
        assert engine.sessions[0].heard[0] == first % 32_767 + 1


async def test_a_call_that_begins_with_speech_has_a_shorter_preroll() -> None:
    engine = Echoes()
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(SttActor(engine)) as stt:
        say(agent, 0, 1600)
        await taken(stt, 5)
        agent.publish(SpeechStarted(call=CALL, onset=512))
        await fed(engine, 1600)
        agent.publish(SpeechEnded(call=CALL, onset=512, end=1600, voiced=1000))
        assert (await agent.heard(Final)).start == 0


async def test_duplicates_are_dropped_and_holes_filled_so_that_positions_stay_true() -> None:
    engine = Echoes()
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(SttActor(engine)) as stt:
        agent.publish(SpeechStarted(call=CALL, onset=0))
        await taken(stt, 1)
        say(agent, 0, 3200, skip=range(640, 1280))
        agent.publish(sound(2560), sound(3040))
        await fed(engine, 3360)
        heard = engine.sessions[0].heard
        assert heard[640:1280].tolist() == [0] * 640
        assert heard[1280:].tolist() == list(range(1281, 3361))


async def test_partial_words_are_passed_on() -> None:
    engine = Echoes()
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(SttActor(engine)):
        agent.publish(CallOpened(call=CALL, line="test"), SpeechStarted(call=CALL, onset=0))
        await fed(engine, 0)
        engine.sessions[0].partial("how la")
        assert (await agent.heard(Partial)).text == "how la"


async def test_speech_without_end_is_cut_and_goes_on_under_its_name() -> None:
    engine = Echoes()
    actor = SttActor(engine, max_utterance_s=0.1)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor) as stt:
        agent.publish(SpeechStarted(call=CALL, onset=0))
        await taken(stt, 1)
        say(agent, 0, 1600 + 320)
        await taken(stt, 7)
        agent.publish(SpeechEnded(call=CALL, onset=0, end=1920, voiced=1920))
        await agent.heard(Final, 2)
        spans = [(final.start, final.end, final.more) for final in agent.past(Final)]
        assert spans == [(0, 1600, True), (1600, 1920, False)]
        assert {final.utterance for final in agent.past(Final)} == {0}


async def test_nothing_is_left_of_a_closed_call() -> None:
    engine = Echoes()
    actor = SttActor(engine)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor):
        agent.publish(CallOpened(call=CALL, line="test", channels=2))
        await until(lambda: actor.gauges()["open_sessions"] == 2.0)
        agent.publish(CallClosed(call=CALL, reason="hangup"))
        await until(lambda: actor.gauges()["open_sessions"] == 0.0)
        assert all(session.closed for session in engine.sessions)


def lull(voiced: int, silent_ms: int) -> SpeechContinued:
    """The voice track: so many samples voiced since the onset, quiet for so long."""
    silent = silent_ms * 16
    return SpeechContinued(call=CALL, onset=0, end=voiced + silent, voiced=voiced, silent=silent)


async def test_words_settle_at_a_lull_and_are_open_again_when_he_goes_on() -> None:
    engine = Echoes()
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(SttActor(engine)):
        agent.publish(SpeechStarted(call=CALL, onset=0))
        agent.publish(lull(3200, 64), lull(3200, 96), lull(3200, 160))  # once, at 96 ms
        agent.publish(lull(4800, 0))  # he goes on
        agent.publish(lull(4800, 96), lull(6400, 96))  # a syllable between two reports
        agent.publish(SpeechEnded(call=CALL, onset=0, end=6400, voiced=6400))
        await agent.heard(Final)
        orders = [order for order, _ in engine.sessions[0].orders]
        assert orders == ["settle", "resume", "settle", "resume", "settle"]


async def test_settled_words_are_told_as_such() -> None:
    engine = Echoes()
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(SttActor(engine)):
        agent.publish(CallOpened(call=CALL, line="test"), SpeechStarted(call=CALL, onset=0))
        await fed(engine, 0)
        engine.sessions[0]._results.put_nowait(Hypothesis(0, "hi", 0, 0, False, settled=True))
        assert (await agent.heard(Partial)).settled


async def test_what_is_short_and_said_over_the_agent_is_looked_at_twice() -> None:
    """Not what is said to a silent agent, is longer than the setting, or surely judged by its sound;
    and by no recogniser that makes none: nobody waits for it."""
    engine = Echoes()
    actor = SttActor(engine, preroll_ms=400, second_look_ms=700)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor):

        async def said(onset: int, samples: int, floor: float = 0.0) -> Final:
            say(agent, onset, onset + samples)
            agent.publish(SpeechStarted(call=CALL, onset=onset))
            await fed(engine, samples)
            last = (onset + samples - 1) % 32_767 + 1
            await until(lambda: list(engine.sessions[-1].heard[-1:]) == [last])
            ended = SpeechEnded(
                call=CALL, onset=onset, end=onset + samples, voiced=samples, floor=floor
            )
            agent.publish(ended)
            return await agent.heard(Final, utterance=onset)

        assert not (await said(0, 4800)).second
        agent.publish(TurnStarted(call=CALL, turn=1, text="x", start=0, end=4800))
        await until(lambda: actor._streams[CALL, 0].channel.look_at > 0)
        assert (await said(4800, 4800)).second
        look = await agent.heard(SecondLook)
        assert (look.utterance, look.text, look.command_nats) == (4800, "again", 12.5)
        assert (look.start, look.end) == (4800, 9600)
        assert not (await said(9600, 12_800)).second
        assert not (await said(22_400, 4800, floor=4.0)).second
        assert not (await said(27_200, 4800, floor=-4.0)).second
        engine.sessions[-1].looks = False
        assert not (await said(32_000, 4800)).second
        agent.publish(
            TurnEnded(call=CALL, turn=1, outcome="completed", asked="x", heard="", answer="")
        )
        await until(lambda: not actor._streams[CALL, 0].channel.look_at)
        engine.sessions[-1].looks = True
        assert not (await said(36_800, 4800)).second
