"""An engine of another package: found by its entry point, checked when settings are read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from actors.build import recogniser, vad, voice
from bus.errors import SettingsError
from bus.settings import load
from engines.protocols import EngineError

MODULE = """
class Mine:
    def __init__(self, settings):
        self.rate = settings.tts.words_per_minute

def make(settings):
    return Mine(settings)

def broken(settings):
    raise RuntimeError("no licence file")
"""
ENTRIES = """
[bargein.stt]
mine = strange_engine:make
broken = strange_engine:broken
[bargein.tts]
mine = strange_engine:make
[bargein.vad]
mine = strange_engine:make
"""


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as pip would have left it."""
    (tmp_path / "strange_engine.py").write_text(MODULE)
    info = tmp_path / "strange_engine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
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
