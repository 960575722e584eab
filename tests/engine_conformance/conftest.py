"""Which engines are put through: those named with `--engine`, else ours that need no download."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

import pytest

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
from tests.engine_conformance.kit import SttCase, TtsCase, VadCase
from tests.fakes import deepgram

PHRASES = (
    ("question", "kal16", "what is seven plus five"),
    ("question", "slt", "how many minutes are in an hour"),
)


def recording(kind: str, voice: str, text: str) -> tuple[bytes, str]:
    """A shipped clip and its words."""
    return wav.read(caller_set.find(kind, voice, text)[0].path).tobytes(), text


E = TypeVar("E", SttEngine, Voice)
SAID = (recording(*PHRASES[0]), recording(*PHRASES[1]))


@asynccontextmanager
async def loaded(engine: E) -> AsyncGenerator[E, None]:
    """Loaded, and closed at the end."""
    await engine.load()
    try:
        yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def remote() -> AsyncGenerator[SttEngine, None]:
    """Deepgram's adapter before a server of its protocol."""
    server = deepgram.DeepgramServer()
    async with server.serving(), AsyncExitStack() as ending:
        made = DeepgramEngine(DeepgramSettings(url=server.url), deepgram.KEY)
        yield await ending.enter_async_context(loaded(made))


def ours() -> list[SttCase | TtsCase | VadCase]:
    """What `make test` puts through."""
    texts = ("what is seven plus five", "hello world")
    return [
        SttCase("pocketsphinx", lambda: loaded(PocketsphinxEngine()), SAID, cycles=4),
        SttCase("deepgram", remote, tuple((deepgram.voice(t), t) for t in texts)),  # type: ignore[arg-type]
        TtsCase("espeak", lambda: loaded(EspeakVoice())),
        VadCase("pysilero", PysileroVad, SAID[0][0]),
        VadCase("silero-onnx", SileroOnnxVad, SAID[0][0]),
    ]


def strangers(wanted: list[str]) -> list[SttCase | TtsCase | VadCase]:
    """Those named on the command line, by their entry points."""
    settings = load()
    cases: list[SttCase | TtsCase | VadCase] = []
    for one in wanted:
        kind, _, name = one.partition(":")
        make = partial(outside, kind, name, settings)
        if kind == "stt":
            cases.append(SttCase(name, lambda make=make: loaded(make()), SAID))  # type: ignore[misc]
        elif kind == "tts":
            cases.append(TtsCase(name, lambda make=make: loaded(make())))  # type: ignore[misc]
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
