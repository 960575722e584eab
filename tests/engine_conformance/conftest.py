"""Which engines are put through: those named with `--engine`, else ours that need no download."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

import pytest

from actors import build
from bus.settings import load
from engines.outside import outside
from engines.protocols import SttEngine, Voice
from engines.stt_deepgram import DeepgramEngine, DeepgramSettings
from engines.stt_pocketsphinx import PocketsphinxEngine
from engines.tts_espeak import EspeakVoice
from engines.vad_silero import PysileroVad
from engines.vad_silero_onnx import SileroOnnxVad
from ops import wav
from soak import caller_set
from tests.engine_conformance.kit import CLOSING_S, SttCase, TtsCase, VadCase
from tests.fakes import deepgram

PHRASES = (
    ("question", "rms", "what is seven plus five"),
    ("question", "slt", "how many minutes are in an hour"),
)


Said = tuple[bytes, str]


def recording(kind: str, voice: str, text: str) -> Said:
    """A shipped clip and its words."""
    return wav.read(caller_set.find(kind, voice, text)[0].path).tobytes(), text


E = TypeVar("E", SttEngine, Voice)
SAID = (recording(*PHRASES[0]), recording(*PHRASES[1]))


@asynccontextmanager
async def closed(engine: E, load: bool = False) -> AsyncGenerator[E, None]:
    """Closed at the end, and in time."""
    try:
        if load:
            await engine.load()
        yield engine
    finally:
        async with asyncio.timeout(CLOSING_S):
            await engine.close()


@asynccontextmanager
async def remote(load: bool = False) -> AsyncGenerator[SttEngine, None]:
    """Deepgram's adapter before a server of its protocol."""
    server = deepgram.DeepgramServer()
    async with server.serving(), AsyncExitStack() as ending:
        made = DeepgramEngine(DeepgramSettings(url=server.url), deepgram.KEY)
        yield await ending.enter_async_context(closed(made, load))


def recogniser(
    name: str,
    fresh: Callable[..., AbstractAsyncContextManager[SttEngine]],
    *said: Said,
    cycles: int,
) -> SttCase:
    """`fresh(load)`: one that is closed at the end."""
    one, other = said
    return SttCase(name, partial(fresh, load=True), (one, other), cycles, fresh)


def speaker(name: str, make: Callable[[], Voice]) -> TtsCase:
    return TtsCase(name, lambda: closed(make(), load=True), fresh=lambda: closed(make()))


def ours() -> list[SttCase | TtsCase | VadCase]:
    """What `make test` puts through."""
    remotely = [(deepgram.voice(text), text) for text in ("what is seven plus five", "hello world")]
    return [
        recogniser(
            "pocketsphinx", lambda load=False: closed(PocketsphinxEngine(), load), *SAID, cycles=4
        ),
        recogniser("deepgram", remote, *remotely, cycles=10),
        speaker("espeak", EspeakVoice),
        VadCase("pysilero", PysileroVad, SAID[0][0]),
        VadCase("silero-onnx", SileroOnnxVad, SAID[0][0]),
    ]


def strangers(wanted: list[str]) -> list[SttCase | TtsCase | VadCase]:
    """Those named on the command line: recognisers as in fleet.toml, others by their entry points."""
    settings = load()
    cases: list[SttCase | TtsCase | VadCase] = []
    for one in wanted:
        kind, _, name = one.partition(":")
        make = partial(outside, kind, name, settings)
        if kind == "stt":
            make = partial(build.recogniser, name, settings)
            fresh = lambda load=False, make=make: closed(make(), load)  # noqa: E731 - one of many
            cases.append(recogniser(name, fresh, *SAID, cycles=10))
        elif kind == "tts":
            cases.append(speaker(name, make))
        elif kind == "vad":
            cases.append(VadCase(name, make, SAID[0][0]))
        else:
            raise pytest.UsageError(f"--engine {one}: no such kind; write stt:, tts: or vad:NAME")
    return cases


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test once for each engine of its kind."""
    kinds = {"stt": SttCase, "tts": TtsCase, "vad": VadCase}
    wanted = metafunc.config.getoption("--engine")
    for fixture in kinds.keys() & set(metafunc.fixturenames):
        cases = strangers(wanted) if wanted else ours()
        mine = [case for case in cases if isinstance(case, kinds[fixture])]
        metafunc.parametrize(fixture, mine, ids=[case.name for case in mine])
