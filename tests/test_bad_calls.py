"""Bad input to `bargein call`: one clear line, a non-zero exit, nothing half-started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.settings import home
from soak import caller_set
from tests.fleet import free_port, make_home


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("h")
    make_home(folder, free_port())
    yield folder
    assert not list((folder / "var" / "calls").iterdir())


def bargein(house: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "ops.cli", *arguments],
        env={**os.environ, "BARGEIN_HOME": str(house)},
        cwd=home(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_fleet(house: Path) -> None:
    wav = caller_set.find("question", "slt", "what time is it")[0].path
    done = bargein(house, "call", "--wav", str(wav))
    assert done.returncode == 69
    assert "bargein up" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_unknown_option_and_unknown_actor(house: Path) -> None:
    assert bargein(house, "call", "--waf", "x").returncode == 2
    done = bargein(house, "restart", "nobody")
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_bad_fleet_toml_stops_everything_before_it_starts(house: Path) -> None:
    with (house / "config" / "fleet.toml").open("a") as file:
        file.write("\n[plauback]\nframe_ms = 20\n")
    done = bargein(house, "up")
    assert done.returncode == 78
    assert "plauback" in done.stderr
    assert "playback" in done.stderr
    assert not (house / "var" / "run" / "supervisord.pid").exists()
