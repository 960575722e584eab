"""An actor goes on in the environment of its engine, under its own process id."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.environments import ENVIRONMENTS, INSTALLED, python_for
from bus.settings import load

HERE = Path(__file__).resolve().parent.parent


def home(folder: Path, text: str) -> Path:
    (folder / "config").mkdir()
    (folder / "config" / "fleet.toml").write_text(text)
    return folder


def installed(where: Path, name: str) -> Path:
    """What `make engine-NAME` leaves; its interpreter."""
    python = where / ".engines" / name / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (where / ".engines" / name / INSTALLED).touch()
    return python


def test_each_engine_with_an_environment_has_a_make_target_and_constraints() -> None:
    makefile = (HERE / "Makefile").read_text()
    for name in set(ENVIRONMENTS.values()):
        assert f"\nengine-{name}:" in makefile
        pins = (HERE / "constraints" / f"{name}.txt").read_text().split()
        target = makefile.split(f"\n.engines/{name}/{INSTALLED}:")[1].split("\n\n")[0]
        assert target.endswith("\t@touch $@"), "it is left last"
        assert all("==" in pin and "://" not in pin for pin in pins)


def test_embedded_engines_need_none(tmp_path: Path) -> None:
    settings = load(env={"BARGEIN_HOME": str(home(tmp_path, ""))})
    assert python_for("tts", settings) is None


@pytest.mark.parametrize("line", ["batch_engine = 'nemo'", "engine = 'nemo-small'"])
def test_stt_moves_for_its_batch_engine_and_the_small_model_too(tmp_path: Path, line: str) -> None:
    where = home(tmp_path, f"[stt]\n{line}\n")
    settings = load(env={"BARGEIN_HOME": str(where)})
    assert python_for("stt", settings) is None, "nothing is installed"
    python = installed(where, "nemo")
    assert python_for("stt", settings) == python
    assert python_for("tts", settings) is None


def test_tts_moves_for_a_voice_it_falls_back_to(tmp_path: Path) -> None:
    voices = "[{ engine = 'chatterbox', voice = 'default' }]"
    where = home(tmp_path, f"[tts]\nengine = 'espeak'\nfallbacks = {voices}\n")
    python = installed(where, "chatterbox")
    assert python_for("tts", load(env={"BARGEIN_HOME": str(where)})) == python


def test_half_an_environment_is_none(tmp_path: Path) -> None:
    """`make engine-…` was broken off: the packages are not there, and nothing would start in it."""
    where = home(tmp_path, "[tts]\nengine = 'chatterbox'\n")
    settings = load(env={"BARGEIN_HOME": str(where)})
    python = installed(where, "chatterbox")
    assert python_for("tts", settings) == python
    (where / ".engines" / "chatterbox" / INSTALLED).unlink()
    assert python_for("tts", settings) is None


def test_the_actor_is_the_same_process_in_another_environment(tmp_path: Path) -> None:
    """The environment's python here only tells who it is and what it was asked for."""
    where = home(tmp_path, "[tts]\nengine = 'chatterbox'\n")
    env = {**os.environ, "BARGEIN_HOME": str(where)}
    settings = load(env=env)
    assert python_for("tts", settings) is None, "nothing is installed"
    python = installed(where, "chatterbox")
    python.write_text('#!/bin/sh\necho $$ "$@"\n')
    python.chmod(0o700)
    assert python_for("tts", settings) == python
    assert python_for("stt", settings) is None
    begun = subprocess.Popen(
        [sys.executable, "-P", "-m", "actors", "tts"],
        env=env,
        cwd=HERE,
        stdout=subprocess.PIPE,
        text=True,
    )
    said, _ = begun.communicate(timeout=30)
    assert said.split() == [str(begun.pid), "-P", "-m", "actors", "tts"]
