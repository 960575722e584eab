"""The embedded recogniser: real words, from a process of its own that can be lost and replaced."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest

from engines.pocketsphinx_child import COMMAND, MOST_ACTIVE, WORDS, Listener, load_decoder, plain
from engines.protocols import EngineError, Hypothesis, SttEngine, SttSession
from engines.stt_pocketsphinx import PocketsphinxEngine
from engines.stt_process import ProcessSession
from soak import caller_set

ROOT = Path(__file__).parent.parent
QUESTION = "what time is it"
REQUEST = "tell me about the history of the ocean"
PACKET = 640
HEAD, TAIL = bytes(6_400), bytes(12_800)  # 200 ms before, 400 ms after


def _clip(name: str) -> bytes:
    with wave.open(str(ROOT / "soak" / "callers" / name), "rb") as clip:
        return HEAD + clip.readframes(clip.getnframes()) + TAIL


def _question() -> bytes:
    return _clip("question-what_time_is_it-slt.wav")


def _request() -> bytes:
    return _clip("long_request-tell_me_about_the_history_of_the_ocean-rms.wav")


def _packets(pcm: bytes) -> Iterable[bytes]:
    return (pcm[at : at + PACKET] for at in range(0, len(pcm), PACKET))


def _ragged(pcm: bytes, seed: int) -> Iterable[bytes]:
    """Any lengths: none, half a sample, many packets at once."""
    chance, at = random.Random(seed), 0
    while at < len(pcm):
        size = chance.choice((0, 1, 3, 639, 641, 1_000, 5_000))
        yield pcm[at : at + size]
        at += size


def _speak(session: SttSession, utterance: int, packets: Iterable[bytes], first: int = 0) -> None:
    session.begin(utterance, first)
    for packet in packets:
        session.feed(packet)
    session.finish()


async def _until_final(session: SttSession, count: int = 1) -> list[Hypothesis]:
    """Everything said up to the `count`th final."""
    said: list[Hypothesis] = []
    async for hypothesis in session.results():
        said.append(hypothesis)
        if sum(each.final for each in said) == count:
            break
    return said


class _Clock:
    """Notes the time whenever the loop comes round, at most once a millisecond."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.ticks: list[float] = []
        self._tick()

    def _tick(self) -> None:
        self.ticks.append(self._loop.time())
        self._timer = self._loop.call_later(0.001, self._tick)

    def stop(self) -> None:
        self._timer.cancel()


async def _gone(pid: int) -> None:
    """Return when the process has ended (reaped or not)."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(handle, ended.set)
    await ended.wait()
    loop.remove_reader(handle)
    os.close(handle)


def _decoders(parent: int | None = None) -> set[int]:
    """Process ids of the living decoders a process has started."""
    return {each.pid for each in psutil.Process(parent).children() if _decodes(each)}


def _decodes(process: psutil.Process) -> bool:
    try:
        command = process.cmdline()
    except psutil.NoSuchProcess:  # ended just now; a zombie is one too
        return False
    return not command or "engines.pocketsphinx_child" in command  # empty while it is being started


@pytest.fixture
async def engine() -> AsyncIterator[PocketsphinxEngine]:
    loaded = PocketsphinxEngine()
    await loaded.load()
    yield loaded
    await loaded.close()
    assert not _decoders()


@pytest.fixture
async def session(engine: PocketsphinxEngine) -> ProcessSession:
    return await engine.open()


async def test_words_and_where_they_were(session: ProcessSession) -> None:
    first, pcm = 48_000, _question()
    _speak(session, 7, _packets(pcm), first)
    final = (await _until_final(session))[-1]
    assert (final.utterance, final.text) == (7, QUESTION)
    assert (final.start, final.end) == (first, first + len(pcm) // 2)
    assert " ".join(word.text for word in final.words) == QUESTION
    edges = [edge for word in final.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    spoken = range(first + len(HEAD) // 2, final.end - len(TAIL) // 2)
    assert all(word.end > spoken.start and word.start < spoken.stop for word in final.words)


async def test_partials_come_before_the_final_and_differ(session: ProcessSession) -> None:
    _speak(session, 1, _packets(_request()))
    *partials, final = await _until_final(session)
    assert final.text == REQUEST
    assert len(partials) >= 3
    assert not any(each.final or each.words for each in partials)
    texts, ends = [each.text for each in partials], [each.end for each in partials]
    assert all(one != next_ for one, next_ in pairwise(texts))
    assert all(next_ - one >= 1_600 for one, next_ in pairwise(ends))


async def test_what_settles_in_a_pause_is_the_final(session: ProcessSession) -> None:
    """The wait after it costs nothing: the backward passes have been done."""
    session.begin(1, 0)
    session.feed(_question())
    session.settle()
    session.feed(bytes(6_400))
    session.finish()
    *_, settled, final = await _until_final(session)
    assert (settled.text, settled.settled, settled.final) == (QUESTION, True, False)
    assert (final.text, final.settled, final.words) == (QUESTION, False, settled.words)


async def test_who_goes_on_after_a_pause_is_understood_as_if_nothing_had_settled(
    session: ProcessSession,
) -> None:
    """Settled in mid-word, and again; equal sound, equal text."""
    pcm = _request()
    session.begin(1, 0)
    for packet in _packets(pcm[:30_000]):
        session.feed(packet)
    session.settle()
    session.feed(pcm[30_000:34_000])
    session.resume()
    session.feed(pcm[34_000:])
    session.settle()
    session.resume()
    session.resume()
    session.finish()
    final = (await _until_final(session))[-1]
    assert (final.text, final.end) == (REQUEST, len(pcm) // 2)


async def _looked_at(session: SttSession, utterance: int, clip: str) -> tuple[str, float]:
    """The words of a second look, and how much nearer to a command."""
    _speak(session, utterance, _packets(_clip(clip)))
    session.look_again()  # type: ignore[attr-defined] # not every session can
    async for said in session.results():
        if said.second is not None:
            assert (said.utterance, said.final) == (utterance, False)
            return said.text, said.second
    raise AssertionError("no second look")


async def test_a_second_look_tells_commands_from_backchannels(session: ProcessSession) -> None:
    """And what is heard after it is heard as if there had been none."""
    text, nats = await _looked_at(session, 1, "interruption-stop_please-slt.wav")
    assert (text, nats > 40) == ("stop please", True)
    text, nats = await _looked_at(session, 2, "backchannel-okay-rms.wav")
    assert (text, nats < 0) == ("okay", True)
    _speak(session, 3, _packets(_question()))
    assert (await _until_final(session))[-1].text == QUESTION


async def test_partial_ms_is_a_setting() -> None:
    engine: SttEngine = PocketsphinxEngine(partial_ms=10_000)
    session = await engine.open()
    _speak(session, 1, _packets(_question()))
    assert [each.final for each in await _until_final(session)] == [True]
    await engine.close()


async def test_one_final_for_each_utterance_in_order(session: ProcessSession) -> None:
    sounds = [b"", bytes(2), bytes(32_000), _question(), b"", _request(), b"\x01"]
    for utterance, pcm in enumerate(sounds):
        _speak(session, utterance, _packets(pcm), first=utterance * 100_000)
    finals = [each for each in await _until_final(session, len(sounds)) if each.final]
    assert [each.utterance for each in finals] == list(range(len(sounds)))
    assert [bool(each.text) for each in finals] == [0, 0, 0, 1, 0, 1, 0]
    assert [each.end - each.start for each in finals] == [len(pcm) // 2 for pcm in sounds]


async def test_words_before_the_onset_are_kept(session: ProcessSession) -> None:
    pcm, onset, preroll = _request(), 64_000, 12_000
    session.begin(1, onset - preroll)
    session.feed(pcm[: 2 * preroll])
    for packet in _packets(pcm[2 * preroll :]):
        session.feed(packet)
    session.finish()
    final = (await _until_final(session))[-1]
    assert final.text == REQUEST
    assert final.words[0].text == "tell"
    assert final.words[0].start < onset


async def test_ragged_packets_give_the_same_text(engine: PocketsphinxEngine) -> None:
    said = []
    for packets in (_packets(_request()), _ragged(_request(), 1)):
        session = await engine.open()
        _speak(session, 1, packets)
        said.append(await _until_final(session))
        await session.close()
    assert said[0] == said[1]


async def test_the_loop_turns_while_the_decoder_works(session: ProcessSession) -> None:
    clock = _Clock()
    _speak(session, 1, _packets(_request()))
    assert (await _until_final(session))[-1].text == REQUEST
    clock.stop()
    elapsed = clock.ticks[-1] - clock.ticks[0]
    gaps = [after - before for before, after in pairwise(clock.ticks)]
    assert len(clock.ticks) > elapsed * 100  # of 1000 a second at best
    assert max(gaps) < elapsed / 2


async def test_backlog_is_seen_and_worked_off(session: ProcessSession) -> None:
    assert session.backlog_ms == 0
    _speak(session, 1, [_request()])
    assert session.backlog_ms == len(_request()) / 32
    while not session.runs:  # noqa: ASYNC110 - the system tells it to nobody
        await asyncio.sleep(0)
    await _until_final(session)
    assert session.backlog_ms == 0


async def test_a_hung_decoder_shows_as_backlog_and_can_be_closed(
    session: ProcessSession,
) -> None:
    os.kill(session.pid, signal.SIGSTOP)
    _speak(session, 1, _packets(_request()))
    behind = asyncio.ensure_future(_until_final(session))
    assert session.backlog_ms == len(_request()) / 32
    while session.runs:  # noqa: ASYNC110 - the signal is on its way
        await asyncio.sleep(0)
    await session.close()
    assert await behind == []


async def test_a_second_call_does_not_wait_for_the_first(engine: PocketsphinxEngine) -> None:
    busy, quick = await engine.open(), await engine.open()
    for utterance in range(12):
        _speak(busy, utterance, [_request()])
    behind = asyncio.ensure_future(_until_final(busy, 12))
    _speak(quick, 1, _packets(_question()))
    assert (await _until_final(quick))[-1].text == QUESTION
    assert not behind.done()
    await busy.close()
    assert len([each for each in await behind if each.final]) < 12


async def test_a_killed_decoder_is_told_and_replaced(engine: PocketsphinxEngine) -> None:
    session = await engine.open()
    session.begin(1, 0)
    session.feed(_request()[:40_000])
    os.kill(session.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match=r"exit -9.*open a new session"):
        await _until_final(session)
    session.feed(bytes(PACKET))  # the owner may not have heard yet
    session.finish()
    with pytest.raises(EngineError, match="open a new session"):
        await _until_final(session)
    await session.close()
    again = await engine.open()
    _speak(again, 1, _packets(_request()))
    assert (await _until_final(again))[-1].text == REQUEST


async def test_a_killed_spare_is_replaced(engine: PocketsphinxEngine) -> None:
    (spare,) = _decoders()
    os.kill(spare, signal.SIGKILL)
    async with asyncio.timeout(30):
        while not _decoders() - {spare}:  # noqa: ASYNC110 - nobody is asked, so nobody tells
            await asyncio.sleep(0)
    await engine.load()
    assert len(_decoders()) == 1
    session = await engine.open()
    _speak(session, 1, _packets(_question()))
    assert (await _until_final(session))[-1].text == QUESTION


async def test_one_warm_decoder_beside_the_sessions(engine: PocketsphinxEngine) -> None:
    assert len(_decoders()) == 1
    sessions = [await engine.open(), await engine.open()]
    assert len(_decoders()) == 3
    assert {each.pid for each in sessions} < _decoders()
    for each in sessions:
        await each.close()
    assert len(_decoders()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_is_the_parents_business(session: ProcessSession, number: int) -> None:
    _speak(session, 1, [_question()])
    os.kill(session.pid, number)
    assert (await _until_final(session))[-1].text == QUESTION


async def test_closing_a_session_ends_its_work(session: ProcessSession) -> None:
    for utterance in range(20):
        _speak(session, utterance, [_request()])
    pid, behind = session.pid, asyncio.ensure_future(_until_final(session, 20))
    await session.close()
    assert not psutil.pid_exists(pid)
    assert len(await behind) < 20
    await session.close()
    assert await _until_final(session) == []


async def test_closing_the_engine_ends_its_sessions() -> None:
    engine = PocketsphinxEngine()
    session = await engine.open()
    _speak(session, 1, [_request()])
    await engine.close()
    assert not _decoders()
    assert await _until_final(session) == []
    with pytest.raises(EngineError, match="closed"):
        await engine.open()
    with pytest.raises(EngineError, match="closed"):
        await engine.load()
    await engine.close()


ORPHAN = """
import asyncio
from engines.stt_pocketsphinx import PocketsphinxEngine

async def main():
    engine = PocketsphinxEngine()
    await engine.load()
    session = await engine.open()
    session.begin(1, 0)
    session.feed(bytes(32_000 * 60))
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def _parent() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-P", "-c", ORPHAN], stdout=subprocess.PIPE)


async def test_no_decoder_outlives_a_killed_parent() -> None:
    with _parent() as parent:
        assert parent.stdout is not None
        assert await asyncio.to_thread(parent.stdout.readline) == b"ready\n"
        orphans = _decoders(parent.pid)
        assert len(orphans) == 2
        parent.kill()
        await asyncio.gather(*map(_gone, orphans))


async def test_orders_out_of_turn_are_refused(session: ProcessSession) -> None:
    with pytest.raises(EngineError, match=r"begin\(\)"):
        session.feed(bytes(PACKET))
    with pytest.raises(EngineError, match=r"begin\(\)"):
        session.finish()
    session.begin(1, 0)
    with pytest.raises(EngineError, match="finish utterance 1 before beginning 2"):
        session.begin(2, 0)


@pytest.mark.parametrize(
    ("program", "advice"),
    [("/bin/false", "before it had loaded"), ("/nowhere/python", "cannot start")],
)
async def test_a_decoder_that_cannot_run(
    monkeypatch: pytest.MonkeyPatch, program: str, advice: str
) -> None:
    engine = PocketsphinxEngine()
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", program)
        with pytest.raises(EngineError, match=advice):
            await engine.load()
    await engine.load()
    await engine.close()


@pytest.mark.parametrize(
    ("token", "word"),
    [
        ("time", "time"),
        ("a(2)", "a"),
        ("what's(12)", "what's"),
        ("<s>", ""),
        ("</s>", ""),
        ("<sil>", ""),
        ("[NOISE]", ""),
        ("[SPEECH]", ""),
        ("++BREATH++", ""),
    ],
)
def test_a_token_as_a_plain_word(token: str, word: str) -> None:
    assert plain(token) == word


def test_each_list_has_a_limit_of_its_own_and_what_is_heard_next_has_that_of_words() -> None:
    """Without one, babble takes three times as long for the same words."""
    decoder = load_decoder()
    listener = Listener(decoder, 1600)
    listener.begin(0, 0)
    assert decoder.config["maxhmmpf"] == MOST_ACTIVE[WORDS]
    list(listener.feed(_question()))
    listener.finish()
    listener._search(COMMAND)
    assert decoder.config["maxhmmpf"] == MOST_ACTIVE[COMMAND]
    assert [look.text for look in listener.again()] == [QUESTION]
    assert decoder.config["maxhmmpf"] == MOST_ACTIVE[WORDS]


def test_a_call_begins_with_a_mean_that_is_nearer_to_voices_than_the_decoders_own() -> None:
    """Cepstral means of whole clips, by the decoder itself: distances in its own units."""
    decoder = load_decoder()
    begins = _mean(decoder)
    own = np.array([40.0, 3.0, -1.0] + [0.0] * 10)
    clips = caller_set.find("question")[::4]
    means = []
    for clip in clips:
        decoder.start_utt()
        decoder.process_raw(clip.pcm(), full_utt=True)
        decoder.end_utt()
        means.append(_mean(decoder))
    begun, otherwise = (np.linalg.norm(np.array(means) - m, axis=1) for m in (begins, own))
    assert begun.mean() < otherwise.mean() - 5


def _mean(decoder: Any) -> npt.NDArray[np.float64]:
    return np.array([float(number) for number in decoder.get_cmn(False).split(",")])
