"""An engine of another package: found by its entry point, checked when settings are read."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.build import recogniser, vad, voice
from actors.llm import LlmActor
from actors.toolbox import Toolbox
from bus.errors import SettingsError
from bus.settings import load
from engines.protocols import EngineError
from engines.tools import chosen
from schemas import Sentence, ToolCall, ToolEnded
from tests.rig import rig
from tests.test_tools import Answers, order

REPOSITORY = Path(__file__).parent.parent
MODULE = """
class Mine:
    def __init__(self, settings):
        self.rate = settings.tts.words_per_minute

def make(settings):
    return Mine(settings)

def broken(settings):
    raise RuntimeError("no licence file")

def light(settings):
    from engines.tools import Tool

    async def switch(arguments):
        return f"The light in the {arguments['room']} is on."

    return Tool("light", "Switches a light on.", switch)
"""
ENTRIES = """
[bargein.stt]
mine = strange_engine:make
broken = strange_engine:broken
[bargein.tts]
mine = strange_engine:make
[bargein.vad]
mine = strange_engine:make
[bargein.tools]
light = strange_engine:light
"""
THEIRS = """
import array
from engines.protocols import Chunk, EngineError

class Beeps:
    rate = 8000

    def __init__(self, settings):
        self.loaded = False
        self.pitch = 20

    async def load(self):
        self.loaded = True

    async def close(self):
        self.loaded = False

    async def stream(self, text):
        if not self.loaded:
            raise EngineError("load() the beeps first")
        for word in text.split():
            if any(map(str.isalnum, word)):
                wave = [9000 if n % self.pitch < self.pitch // 2 else -9000 for n in range(1600)]
                yield Chunk(array.array("h", wave).tobytes())

class Flat(Beeps):
    async def stream(self, text):
        async for chunk in Beeps.stream(self, text):
            self.pitch += 2
            yield chunk
            self.pitch -= 2

class Loudness:
    def __init__(self, settings):
        pass

    def load(self):
        pass

    def open(self):
        return Ear()

class Ear:
    def __init__(self):
        self.rest = b""

    def push(self, pcm):
        self.rest += pcm
        found = []
        while len(self.rest) >= 1024:
            window, self.rest = array.array("h", self.rest[:1024]), self.rest[1024:]
            found.append(min(1.0, sum(map(abs, window)) / len(window) / 300))
        return found
"""


def installed(folder: Path, module: str, entries: str) -> None:
    """A package as pip would have left it."""
    (folder / "strange_engine.py").write_text(module)
    info = folder / "strange_engine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Found by this process."""
    installed(tmp_path, MODULE, ENTRIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "strange_engine", raising=False)
    return tmp_path


def settings_of(folder: Path, text: str) -> Path:
    path = folder / "fleet.toml"
    path.write_text(text)
    return path


def test_its_engines_are_made_with_the_settings(strange: Path) -> None:
    path = settings_of(strange, "[stt]\nengine = 'mine'\n[tts]\nengine = 'mine'\nfallbacks = []\n")
    settings = load(path, {})
    for made in (
        recogniser(settings.stt.engine, settings),
        voice(settings.tts.engine, settings.tts.voice, settings),
        vad("mine", settings),
    ):
        assert type(made).__name__ == "Mine"


def test_a_name_that_nobody_has_is_refused_when_settings_are_read(strange: Path) -> None:
    for text in ("[stt]\nengine = 'yours'\n", "[audio_in]\nvad = 'broken'\n"):
        with pytest.raises(SettingsError, match="installed packages"):
            load(settings_of(strange, text), {})


def test_one_that_fails_to_be_made_says_whose_fault_it_is(strange: Path) -> None:
    settings = load(settings_of(strange, "[stt]\nengine = 'broken'\n"), {})
    with pytest.raises(
        EngineError, match=r"strange_engine:broken.*no licence file.*mend its package"
    ):
        recogniser("broken", settings)
    with pytest.raises(EngineError, match="install it"):
        recogniser("gone", settings)


async def test_its_tool_is_used_when_the_model_asks_for_it(strange: Path) -> None:
    settings = load(settings_of(strange, "[llm]\ntools = ['time', 'light']\n"), {})
    tools = chosen(settings)
    assert list(tools) == ["time", "light"]
    chat = Answers((ToolCall("c1", "light", '{"room": "hall"}'),), ("Done.",))
    actor = LlmActor(chat, tools=Toolbox(tools))
    async with asyncio.timeout(40), rig(Sentence, ToolEnded) as agent, agent.running(actor):
        agent.publish(order())
        ended = await agent.heard(ToolEnded)
        assert (ended.outcome, ended.result) == ("done", "The light in the hall is on.")
        assert (await agent.heard(Sentence)).text == "Done."
    with pytest.raises(SettingsError, match=r"bargein\.tools of installed packages"):
        load(settings_of(strange, "[llm]\ntools = ['gone']\n"), {})


def test_its_engines_are_put_through_the_conformance_kit(tmp_path: Path) -> None:
    """Two that pass, and a voice whose next sentence is not whole after one was cut off."""
    mine, flat = "mine = strange_engine:Beeps\n", "flat = strange_engine:Flat\n"
    ears = "ears = strange_engine:Loudness\n"
    installed(tmp_path, THEIRS, f"[bargein.tts]\n{mine}{flat}[bargein.vad]\n{ears}")
    engines = ("--engine=tts:mine", "--engine=tts:flat", "--engine=vad:ears")
    options = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--tb=no", "-rfE")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/engine_conformance", *engines, *options],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    failed = [line.split("::")[1] for line in lines if line.startswith(("FAILED", "ERROR"))]
    assert {each.split("[")[0] for each in failed} == {
        "test_closed_at_any_moment_it_stops_and_the_next_is_whole",
        "test_cancelled_before_its_first_sound_it_stops_too",
    }, done.stdout + done.stderr
    assert all("flat" in each for each in failed)
    assert int(lines[-1].partition(" passed")[0].split(", ")[-1]) > 25
