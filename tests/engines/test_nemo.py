"""NeMo's real code on two narrow layers: live it says what it says of the whole, whoever shares a step."""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

os.environ["HF_ENDPOINT"] = (
    "http://127.0.0.1:9"  # read when its client is imported: nobody is there
)

import numpy as np
import pytest

from actors.doors import Anyone
from actors.stream import Kit
from actors.stt import SttActor
from engines.batch_nemo import NemoBatch
from engines.nemo_frames import Cutter, Window
from engines.nemo_model import Ear, NemoModel
from engines.nemo_stack import NemoSettings, small, stack
from engines.protocols import EngineError, Full
from engines.stt_nemo import NemoEngine, NemoSession
from ops.cues import Cue
from ops.report import Asked, verdict
from schemas import Health
from soak import caller_set
from soak.nemo_speech import plain
from soak.train_small_nemo import distance
from tests.engine_conformance.kit import SttCase, finals, utter
from tests.engine_conformance.test_stt import *  # noqa: F403 - the kit's tests, with the fixture `stt` below
from tests.engines.small_nemo import build
from tests.fleet import clip, fleet
from tests.rig import rig, until

CONTEXTS_MS = (80, 160, 560, 1120)
TAIL = 5120
CALLS = 500


@asynccontextmanager
async def loaded(engine: NemoEngine) -> AsyncGenerator[NemoEngine, None]:
    """Loaded, and closed at the end."""
    await engine.load()
    try:
        yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def call(engine: NemoEngine) -> AsyncGenerator[NemoSession, None]:
    """A session, closed again whatever happens."""
    session = await engine.open()
    try:
        yield session
    finally:
        await session.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stack().set_num_threads(1)
    return tmp_path_factory.mktemp("nemo")


@pytest.fixture(scope="module")
def live(folder: Path) -> NemoSettings:
    return NemoSettings(model=str(build(folder, "live")), device="cpu", max_sessions=2)


@pytest.fixture(scope="module")
def whole(folder: Path) -> NemoSettings:
    return NemoSettings(batch_model=str(build(folder, "whole", streams=False)), device="cpu")


@pytest.fixture(scope="module")
def models(live: NemoSettings) -> dict[int, NemoModel]:
    made = {}
    for context in CONTEXTS_MS:
        made[context] = NemoModel(replace(live, att_context_ms=context, max_sessions=4))
        made[context].load()
    return made


@pytest.fixture(scope="module")
def sounds() -> list[bytes]:
    """Five things that callers say, and a long one: the caches hold 5.6 s."""
    clips = sorted(caller_set.load(), key=lambda clip: clip.seconds)
    spread = [clips[n * (len(clips) - 1) // 5].pcm() for n in range(6)]
    return [*spread[:5], b"".join(spread[2:])]


def offline(model: NemoModel, pcm: bytes) -> str:
    """What the model makes of all of it at once."""
    import torch

    sound = np.frombuffer(pcm + bytes(2 * TAIL), "<i2").astype(np.float32) / 32768
    nemo = model._model
    with torch.inference_mode():
        mel, length = nemo.preprocessor(
            input_signal=torch.from_numpy(sound)[None], length=torch.tensor([len(sound)])
        )
        heard, heard_length = nemo.encoder(audio_signal=mel, length=length)
        said = nemo.decoding.rnnt_decoder_predictions_tensor(
            heard, heard_length, return_hypotheses=True
        )
    text: str = said[0].text.strip()
    return text


class Live:
    """A call's utterance, fed in ragged packets; it begins `late`, counted in packets."""

    def __init__(
        self, model: NemoModel, pcm: bytes, packets: tuple[int, ...], late: int = 0
    ) -> None:
        self.ear, self.cutter = model.ear(), Cutter(model.ahead)
        self.text, self.over = "", False
        self.window: Window | None = None
        self._pcm, self._at, self._packets, self._late = pcm, 0, cycle(packets), late

    def packet(self) -> None:
        """The next one arrives."""
        if self._late:
            self._late -= 1
        elif self._at < len(self._pcm):
            size = next(self._packets)
            self.cutter.push(self._pcm[self._at : self._at + size])
            self._at += size
        elif not self.cutter.closed:
            self.cutter.close(TAIL)
        self.window = self.window or self.cutter.next()


def run(model: NemoModel, calls: list[Live], together: int = 1) -> set[int]:
    """Steps of at least `together` calls, as long as there are so many; how many shared one."""
    sizes = set[int]()
    while going := [call for call in calls if not call.over]:
        for call in going:
            call.packet()
        ready = [call for call in going if call.window]
        if len(ready) < min(together, len(going)):
            continue
        texts = model.step([(call.ear, call.window) for call in ready if call.window])
        sizes.add(len(ready))
        for call, text in zip(ready, texts, strict=True):
            assert call.window is not None
            call.text, call.over, call.window = text, call.window.last, None
    return sizes


@pytest.mark.parametrize("context", CONTEXTS_MS)
def test_live_text_is_the_text_of_the_whole(
    models: dict[int, NemoModel], sounds: list[bytes], context: int
) -> None:
    """One call alone; then six of different age, in packets of their own, side by side."""
    model = models[context]
    texts = [offline(model, pcm) for pcm in sounds]
    assert len(set(texts)) == len(texts)
    assert all(len(text) > 5 for text in texts)
    alone = Live(model, sounds[-1], (2, 5000, 320, 33_332, 640))
    run(model, [alone])
    assert alone.text == texts[-1]
    thrown = random.Random(1)
    for together in (1, 3, 6):
        packets = [tuple(2 * thrown.randrange(1, 4000) for _ in range(9)) for _ in sounds]
        both = zip(sounds, packets, strict=True)
        calls = [Live(model, pcm, own, 2 * n) for n, (pcm, own) in enumerate(both)]
        sizes = run(model, calls, together)
        assert max(sizes) >= together
        assert [call.text for call in calls] == texts


@contextmanager
def counted() -> Iterator[list[int]]:
    """How many calls were in each step that reached NeMo, as they come."""
    from nemo.collections.asr.models import EncDecRNNTBPEModel

    steps, step = list[int](), EncDecRNNTBPEModel.conformer_stream_step

    def counts(*args: Any, **kwargs: Any) -> Any:
        steps.append(len(kwargs["processed_signal"]))
        return step(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EncDecRNNTBPEModel, "conformer_stream_step", counts)
        yield steps


@pytest.mark.parametrize("context", CONTEXTS_MS)
async def test_calls_of_the_engine_share_steps_and_hear_what_they_hear_alone(
    live: NemoSettings, models: dict[int, NemoModel], sounds: list[bytes], context: int
) -> None:
    """Warm when it is ready; then four sessions, each begun a packet later than the one before."""
    engine = NemoEngine(replace(live, att_context_ms=context, max_sessions=4))
    said = [sounds[5][-32_000 * seconds :] for seconds in (7, 6, 5, 4)]
    thrown, chunk = random.Random(2), context * 16
    with counted() as steps:
        async with loaded(engine), AsyncExitStack() as calls:
            assert len(steps) >= 4, "the first step of a call is none of the model"
            assert set(steps) == {4}
            steps.clear()
            sessions = [await calls.enter_async_context(call(engine)) for _ in said]
            left = {session: bytearray(pcm) for session, pcm in zip(sessions, said, strict=True)}
            for packet in range(10_000):
                for session, pcm in zip(sessions[: packet + 1], said, strict=False):
                    if len(left[session]) == len(pcm):
                        session.begin(1, 0)
                    if size := min(len(left[session]), 2 * thrown.randrange(1, 2 * chunk)):
                        session.feed(bytes(left[session][:size]))
                        del left[session][:size]
                        if not left[session]:
                            session.finish()
                await until(lambda: not engine._work.is_set())
                if not any(left.values()):
                    break
            texts = [(await finals(session, 1))[0][0].text for session in sessions]
    assert max(steps) == 4
    assert texts == [offline(models[context], pcm) for pcm in said]


def test_a_look_ahead_makes_a_difference(models: dict[int, NemoModel], sounds: list[bytes]) -> None:
    assert len({offline(model, sounds[-1]) for model in models.values()}) > 1


def test_what_was_forked_is_not_changed(models: dict[int, NemoModel], sounds: list[bytes]) -> None:
    """Settled after each packet, it says what was said until there; the utterance hears nothing of it."""
    model, pcm = models[160], sounds[3]
    ear, cutter = model.ear(), Cutter(model.ahead)
    for at in range(0, len(pcm), 8000):
        cutter.push(pcm[at : at + 8000])
        while window := cutter.next():
            model.step([(ear, window)])
        assert ended(model, ear.fork(), cutter.fork()) == offline(model, pcm[: at + 8000])
    assert ended(model, ear, cutter) == offline(model, pcm)


def ended(model: NemoModel, ear: Ear, cutter: Cutter) -> str:
    cutter.close(TAIL)
    while window := cutter.next():
        text = model.step([(ear, window)])[0]
    return text


async def test_settled_words_become_the_final_or_are_opened_again(
    live: NemoSettings, models: dict[int, NemoModel], sounds: list[bytes]
) -> None:
    pcm = sounds[3]
    half = len(pcm) // 4 * 2
    begun, all_of_it = offline(models[160], pcm[:half]), offline(models[160], pcm)
    async with loaded(NemoEngine(live)) as engine, call(engine) as session:
        session.begin(1, 160)
        session.feed(pcm[:half])
        session.settle()
        async with aclosing(session.results()) as results:
            assert (await anext(guess async for guess in results if guess.settled)).text == begun
            session.resume()
            session.feed(pcm[half:])
            session.settle()
            settled = await anext(guess async for guess in results if guess.settled)
            assert settled.text == all_of_it
            session.feed(bytes(3200))
            session.finish()
            final = await anext(guess async for guess in results)
            assert final == replace(
                settled, final=True, settled=False, end=160 + len(pcm) // 2 + 1600
            )
            assert session.worked_on == len(pcm) // 2 + 1600


@pytest.mark.timeout(400)
async def test_calls_leave_nothing_behind(
    live: NemoSettings, sounds: list[bytes], record_property: Callable[[str, object], None]
) -> None:
    """500 calls, a third of them closed in the middle of a step: the slope of memory is recorded."""
    import psutil

    process, rss, aborted = psutil.Process(), list[float](), 0
    async with loaded(NemoEngine(live)) as engine:
        for number in range(CALLS):
            async with call(engine) as session:
                session.begin(1, 0)
                session.feed(sounds[0][:12_000])
                if number % 3:
                    session.finish()
                    await finals(session, 1)
                else:
                    await until(lambda: session.worked_on > 0)
                    aborted += 1
            rss.append(process.memory_info().rss / 1e6)
    slope = np.polyfit(np.arange(CALLS - 100), rss[100:], 1)[0]
    print(f"{aborted} of {CALLS} aborted; memory: {1000 * slope:.1f} kB a call, {rss[-1]:.0f} MB")
    record_property("kB a call", round(1000 * slope, 1))
    assert slope * CALLS < 5, "MB in 500 calls: their caches alone would be 20"


async def test_a_step_in_flight_holds_up_neither_cancel_nor_the_loop(
    live: NemoSettings, sounds: list[bytes]
) -> None:
    """A layer waits until a whole round of CANCEL is over, both phases: else nobody would let it go on."""
    engine = NemoEngine(live)
    async with asyncio.timeout(60), rig(roster=("stt",)) as agent, agent.running(SttActor(engine)):
        session = await engine.open()
        with held_up(engine._model._model.encoder.layers[1]) as gate:
            utter(session, 1, 0, sounds[1])
            await asyncio.to_thread(gate.reached.wait)
            table = await agent.cancel("C1", 1)
            assert [(row.actor, row.verdict) for row in table.rows] == [("stt", "released")]
            assert not session.dead
        assert (await finals(session, 1))[0][0].final


class Gate:
    """A layer in the model's thread waits in front of it."""

    def __init__(self) -> None:
        self.reached, self.open, self.passed = threading.Event(), threading.Event(), 0

    def __call__(self, *_: Any) -> None:
        self.reached.set()
        self.open.wait()
        self.passed += 1


@contextmanager
def held_up(layer: Any) -> Iterator[Gate]:
    gate = Gate()
    hook = layer.register_forward_pre_hook(gate)
    try:
        yield gate
    finally:
        hook.remove()
        gate.open.set()


async def test_one_call_more_than_there_may_be_is_refused(live: NemoSettings) -> None:
    engine = NemoEngine(live)
    with pytest.raises(EngineError, match="await load"):
        await engine.open()
    async with loaded(engine), AsyncExitStack() as calls:
        for _ in range(2):
            session = await calls.enter_async_context(call(engine))
        with pytest.raises(Full, match=r"2 calls .* nemo\.max_sessions"):
            await engine.open()
        await session.close()
        await calls.enter_async_context(call(engine))
    with pytest.raises(EngineError, match="closed"):
        await engine.open()


async def test_a_step_that_fails_ends_its_calls_and_no_other(
    live: NemoSettings, models: dict[int, NemoModel], sounds: list[bytes]
) -> None:
    async with loaded(NemoEngine(live)) as engine, call(engine) as session, call(engine) as other:
        hook = engine._model._model.encoder.layers[0].register_forward_pre_hook(_fail)
        utter(session, 1, 0, sounds[1])
        with pytest.raises(EngineError, match=r"NeMo failed: device gone$"):
            await finals(session, 1)
        assert session.dead == "NeMo failed: device gone"
        hook.remove()
        utter(other, 1, 0, sounds[1])
        done, _ = await finals(other, 1)
    assert done[0].text == offline(models[160], sounds[1])


def _fail(*_: Any) -> None:
    raise RuntimeError("device gone\nand a long story")


def _no_memory(*_: Any, **__: Any) -> None:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")


@pytest.mark.parametrize("part", ["caches", "text", "words"])
async def test_want_of_memory_around_a_step_ends_its_call_and_no_other(
    live: NemoSettings, models: dict[int, NemoModel], sounds: list[bytes], part: str
) -> None:
    """Not only in the networks: what is made before them, and of what they say."""
    async with loaded(NemoEngine(live)) as engine, call(engine) as session:
        nemo = engine._model._model
        owner, name = {
            "caches": (nemo.encoder, "get_initial_cache_state"),
            "text": (nemo.decoding, "decode_tokens_to_str_with_strip_punctuation"),
            "words": (nemo.tokenizer, "ids_to_tokens"),
        }[part]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, _no_memory)
            utter(session, 1, 0, sounds[1])
            with pytest.raises(
                EngineError, match=r"too little memory on cpu: .*nemo\.max_sessions"
            ):
                await finals(session, 1)
        assert "too little memory" in session.dead
        async with call(engine) as other:
            utter(other, 1, 0, sounds[1])
            done, _ = await finals(other, 1)
    assert done[0].text == offline(models[160], sounds[1])


@pytest.fixture(params=["nemo", "nemo-small"])
def stt(
    request: pytest.FixtureRequest,
    live: NemoSettings,
    models: dict[int, NemoModel],
    sounds: list[bytes],
) -> SttCase:
    """For the tests of the conformance kit: random weights, and those that come along."""
    if request.param == "nemo":
        said = tuple((pcm, offline(models[160], pcm)) for pcm in sounds[1:3])
        return SttCase("nemo", lambda: loaded(NemoEngine(live)), said, cycles=20)  # type: ignore[arg-type]
    clips = [caller_set.find("question", *which)[0] for which in (PLUS, HOUR)]
    known = tuple((one.pcm(), one.text) for one in clips)
    return SttCase("nemo-small", lambda: loaded(NemoEngine(small(live))), known, cycles=20)  # type: ignore[arg-type]


# -- the model that comes along ------------------------------------------------------------------

PLUS = ("kal16", "what is seven plus five")
HOUR = ("slt", "how many minutes are in an hour")
STORY = ("long_request", "slt", "please tell me a long story")
TIMES = ("interruption", "kal16", "wait a minute, what is twelve times seven")
WRONG = 0.1
"""Words wrong of those said, at most."""


def test_the_model_that_comes_along_understands_the_shipped_callers() -> None:
    """Live, eight at a time, in packets of 20 ms; the same as from the whole recording."""
    model = NemoModel(small(NemoSettings(device="cpu", max_sessions=8)))
    model.load()
    clips = [one for one in caller_set.load() if one.kind != "noise"]
    wrong = words = 0
    for n in range(0, len(clips), 8):
        calls = [Live(model, one.pcm(), (640,)) for one in clips[n : n + 8]]
        run(model, calls)
        for one, heard in zip(clips[n : n + 8], calls, strict=True):
            assert heard.text == offline(model, one.pcm()), one.file
            said = plain(one.text).split()
            wrong += distance(said, heard.text.split())
            words += len(said)
    print(f"{wrong} of {words} words wrong: {100 * wrong / words:.1f} %")
    assert wrong <= WRONG * words


@pytest.mark.timeout(300)
def test_a_call_on_the_model_that_comes_along_is_understood_and_talked_over() -> None:
    """A whole fleet with stt in NeMo's environment."""
    line = 'engine = "pocketsphinx"   #'
    with fleet({line: 'engine = "nemo-small"   #'}, ready_s=120) as made:
        _, records = made.place([clip(*STORY, Cue("clock", 0.3)), clip(*TIMES, Cue("speaks", 2.0))])
    words = plain(TIMES[2])
    assert verdict(records, [Asked(STORY[2]), Asked(words, "eighty four")]) == []


# -- whole recordings ----------------------------------------------------------------------------


async def test_a_recording_is_transcribed_and_stopped(
    whole: NemoSettings, sounds: list[bytes]
) -> None:
    batch = NemoBatch(whole)
    with pytest.raises(EngineError, match="await load"):
        await batch.transcribe(sounds[0], 0)
    await batch.load()
    heard = await batch.transcribe(sounds[2], 1600)
    assert heard.text == " ".join(word.text for word in heard.words)
    assert heard.words
    assert (heard.start, heard.end, heard.final) == (1600, 1600 + len(sounds[2]) // 2, True)
    edges = [edge for word in heard.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert heard.start <= edges[0] <= edges[-1] <= heard.end
    first, second = batch._model.encoder.layers
    with held_up(first) as gate, held_up(second) as next_gate:
        task = asyncio.create_task(batch.transcribe(sounds[5], 0))
        await asyncio.to_thread(gate.reached.wait)
        task.cancel()
        await asyncio.sleep(0)  # the task has heard of it
        assert not task.done(), "it waits for the model"
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not next_gate.reached.is_set()
    assert await batch.transcribe(sounds[2], 1600) == heard
    assert (await batch.transcribe(b"", 5)).text == ""
    await batch.close()


# -- bad input -----------------------------------------------------------------------------------


def test_what_is_wrong_with_a_model_is_said(
    folder: Path, live: NemoSettings, whole: NemoSettings, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.nemo"
    broken.write_bytes(Path(live.model).read_bytes()[:20_000])
    narrow = build(folder, "narrow", rate=8000)
    cases = [
        ({"model": "/nowhere.nemo"}, r"no file /nowhere\.nemo: .*nemo\.model"),
        ({"model": "no name"}, r"neither a \.nemo file nor OWNER/NAME"),
        ({"model": str(broken)}, "is no NeMo model, or damaged: fetch it again"),
        ({"model": whole.batch_model}, "no cache-aware streaming transducer"),
        ({"model": str(narrow)}, "hears sound at 8000 Hz, calls have 16000 Hz"),
        ({"model": "nobody/nothing"}, r"can't be had from the hub: .*name a \.nemo file"),
        ({"att_context_ms": 240}, r"offers contexts of 1120, 560, 160, 80 ms"),
    ]
    import torch

    if not torch.cuda.is_available():
        cases.append(({"device": "cuda"}, "torch sees no GPU: set 'auto' or 'cpu'"))
    for wrong, said in cases:
        with pytest.raises(EngineError, match=said) as caught:
            NemoModel(replace(live, **wrong)).load()  # type: ignore[arg-type] # of several kinds
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["live", "batch"])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("memory", r"too little memory on cpu: end what else uses it"),
        ("other", r"was read but can't be used \(device gone\): name another in nemo\."),
    ],
)
async def test_a_model_that_fails_in_its_warm_up_is_let_go_of(
    live: NemoSettings, whole: NemoSettings, part: str, error: str, said: str
) -> None:
    """Read already: it must not lie there while the next try reads it again."""
    from nemo.collections.asr.models import EncDecRNNTBPEModel
    from nemo.collections.asr.modules import ConformerEncoder

    read = list[weakref.ref[Any]]()

    def fails(of: Any, *_: Any, **__: Any) -> None:
        read.append(weakref.ref(of))
        (_no_memory if error == "memory" else _fail)()

    engine: NemoEngine | NemoBatch = NemoEngine(live) if part == "live" else NemoBatch(whole)
    owner, name = {
        "live": (ConformerEncoder, "get_initial_cache_state"),
        "batch": (EncDecRNNTBPEModel, "transcribe"),
    }[part]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, fails)
        for _ in range(2):
            with pytest.raises(EngineError, match=said):
                await engine.load()
            assert read.pop()() is None
    await engine.load()
    await engine.close()


async def test_a_batch_model_that_fails_has_the_live_one_read_once(live: NemoSettings) -> None:
    """stt loads both again, as long as one can't be had."""
    engine = NemoEngine(live)
    batch = NemoBatch(replace(live, batch_model="/nowhere.nemo"))
    actor = SttActor(engine, kit=Kit(engine, batch, None, Anyone()))
    kept = list[Any]()
    for _ in range(2):
        with pytest.raises(EngineError, match=r"no file /nowhere\.nemo"):
            await actor.load()
        kept.append(engine._model._model)
    assert kept[0] is kept[1]
    await actor.close()


def test_another_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "__version__", "2.5.1")
    with pytest.raises(EngineError, match=r"torch is 2\.5\.1, NeMo needs .*make engine-nemo"):
        stack()


def test_the_pins_are_those_the_engine_asks_for() -> None:
    from engines.nemo_stack import TORCH

    pins = (Path(__file__).parents[2] / "constraints" / "nemo.txt").read_text()
    assert f"\ntorch=={TORCH}." in pins


NEMOTRON = 'model = "nvidia/nemotron-speech-streaming-en-0.6b"'


@pytest.mark.timeout(300)
def test_a_model_that_cannot_be_had_is_told_by_status_and_stt_is_not_restarted() -> None:
    changes = {'engine = "pocketsphinx"': 'engine = "nemo"', NEMOTRON: 'model = "no.nemo"'}
    with fleet(changes, ready_s=120, waits=False) as lame:

        def door() -> Health | None:
            return lame.health().get("stt")

        lame.until(lambda: (health := door()) is not None and "nemo" in health.detail)
        health, pid = door(), lame.pid("stt")
        assert health is not None
        assert (health.ready, health.status, health.pid) == (False, 503, pid)
        why = health.detail
        assert "no.nemo" in why
        lame.until(lambda: why[:40] in " ".join(lame.status().split()))
        assert why[:40] in " ".join(lame.status().split())
        row = {row["actor"]: row for row in json.loads(lame.status("--json"))}["stt"]
        assert (row["pid"], row["restarts"]) == (pid, 0)
