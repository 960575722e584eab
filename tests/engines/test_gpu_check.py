"""What `make gpu-check` does on a card, on the CPU with shrunken models: all of it runs and is told."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from bus.settings import home
from soak import gpu_check
from soak.bench_kit import Result, Row

pytestmark = pytest.mark.timeout(1800)  # of waiting for a core, mostly


def test_the_whole_of_it_on_small_models(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "soak.gpu_check", "--small", "--into", str(tmp_path)],
        cwd=home({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = tmp_path.glob("*.json")
    found = {bench["bench"]: bench for bench in json.loads(file.read_text())["benches"]}
    assert list(found) == ["chatterbox", "nemotron", "parakeet", "fenced under load"]
    rows = {name: {row["name"]: row["value"] for row in one["rows"]} for name, one in found.items()}
    every = [value for one in rows.values() for value in one.values()]
    assert all(math.isfinite(value) for value in every)
    small = gpu_check.SMALL
    assert rows["chatterbox"]["cancels"] == small.cancels
    assert rows["chatterbox"]["of these not the same to the byte"] == 0
    assert rows["chatterbox"]["device busy when free"] == 0
    assert rows["nemotron"]["sessions opened and closed"] == small.sessions
    assert len(found["nemotron"]["detail"]["step_ms"]) == small.steps
    assert rows["parakeet"]["words in them"] > 0
    assert rows["fenced under load"]["cancels"] >= small.rounds
    assert {row["name"] for one in found.values() for row in one["rows"] if row["bar"]} == set()
    print(file.with_suffix(".md").read_text())


def test_a_card_that_is_missing_is_said() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "soak.gpu_check"],
        cwd=home({}),
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 70
    assert re.search(r"^gpu-check: .*sees no GPU; `--small` needs none$", done.stderr, re.M)


def test_a_page_says_what_was_missed(tmp_path: Path) -> None:
    row = Row(bench="nemotron", name="step", value=41.0, unit="ms", bar=40)
    card = {
        "card": "NVIDIA X9",
        "torch": "2.13.0",
        "size": "whole",
        "python": "3.11.7",
        "cores": 16,
    }
    file = gpu_check.write(tmp_path, card, [Result(bench="nemotron", rows=(row,))])
    assert file.name == f"{date.today()}-gpu-nvidia-x9.md"
    assert "| step | 41 | ms | <= 40 | missed |" in file.read_text().splitlines()
    kept = json.loads(file.with_suffix(".json").read_text())
    assert kept["benches"][0]["rows"][0]["ok"] is False


def test_an_environment_that_is_missing_is_said() -> None:
    with pytest.raises(gpu_check.NotInstalled, match=r"run `make engine-nowhere`$"):
        gpu_check._python("nowhere")
