"""`bargein preflight`: gates in their order, and the memory of the cards against its baseline."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bus.errors import FleetError
from ops.cli import app
from ops.device_memory import NAME, look, read
from ops.preflight_commands import GATES

IDLE = "GPU-aa, 0, NVIDIA H200, 143771, 4, 143166\n"
HOLDER = "GPU-aa, 4711, .venv/bin/python, 9000\n"


class Smi:
    """An nvidia-smi on PATH, alone there, that says what it is told."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.program = folder / "nvidia-smi"

    def says(self, cards: str, processes: str = "", code: int = 0) -> None:
        (self._folder / "cards").write_text(cards)
        (self._folder / "processes").write_text(processes)
        self.program.write_text(
            "#!/bin/sh\n"
            'case "$1" in --query-gpu=*) what=cards;; *) what=processes;; esac\n'
            f'while IFS= read -r line; do echo "$line"; done < "{self._folder}/$what"\n'
            f"exit {code}\n"
        )
        self.program.chmod(0o700)


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Smi:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return Smi(tmp_path / "bin")


def test_without_a_card_there_is_nothing_to_look_at(tmp_path: Path, smi: Smi) -> None:
    assert look(tmp_path, 500).notes == (
        "no card: there is no nvidia-smi on PATH; engines compute on the CPU",
    )
    smi.says("No devices were found\n", code=6)
    assert look(tmp_path, 500).notes == ("no card: nvidia-smi lists none",)


def test_the_first_look_is_the_baseline_and_a_lower_one_takes_its_place(
    tmp_path: Path, smi: Smi
) -> None:
    smi.says(IDLE.replace(" 4,", " 604,"))
    first = look(tmp_path, 500)
    assert [(card.name, card.total_mb, card.free_mb) for card in first.cards] == [
        ("NVIDIA H200", 143_771, 143_166)
    ]
    assert first.notes == ("card 0: 604 MB in use is its baseline from now on",)
    assert read(tmp_path)["GPU-aa"].used_mb == 604
    smi.says(IDLE.replace(" 4,", " 1104,"))
    assert look(tmp_path, 500).baseline[0].used_mb == 604
    smi.says(IDLE)
    assert look(tmp_path, 500).baseline[0].used_mb == 4


def test_what_is_over_the_baseline_is_refused_and_its_holder_named(
    tmp_path: Path, smi: Smi
) -> None:
    smi.says(IDLE)
    look(tmp_path, 500)
    smi.says(IDLE.replace(" 4,", " 505,"), HOLDER)
    with pytest.raises(FleetError) as refused:
        look(tmp_path, 500)
    for part in (
        "card 0 (NVIDIA H200): 505 MB are in use before the start, 501 MB over the baseline of 4 MB",
        "allowed: 500 MB (preflight.device_memory_over_mb)",
        "held by process 4711 (.venv/bin/python, 9000 MB); stop that (a fleet: `bargein down`)",
        f"delete {tmp_path}/var/{NAME}",
    ):
        assert part in str(refused.value)
    smi.says(IDLE.replace(" 4,", " 505,"))
    with pytest.raises(FleetError, match="held by nobody nvidia-smi knows"):
        look(tmp_path, 500)


def test_another_card_gets_a_baseline_of_its_own_and_a_missing_one_is_told(
    tmp_path: Path, smi: Smi
) -> None:
    smi.says(IDLE)
    look(tmp_path, 0)
    smi.says("GPU-bb, 0, NVIDIA L4, 23034, 900, 22000\n")
    told = look(tmp_path, 0).notes
    assert told[0].startswith("card 0 (NVIDIA H200) of the baseline is not there; if it was taken")
    assert told[1] == "card 0: 900 MB in use is its baseline from now on"
    assert read(tmp_path).keys() == {"GPU-aa", "GPU-bb"}


@pytest.mark.parametrize(
    ("cards", "code", "said"),
    [
        ("NVIDIA-SMI has failed because it couldn't talk\n", 9, "couldn't talk; mend the driver"),
        ("", 1, "nvidia-smi failed: it said nothing"),
        ("GPU-aa, 0, NVIDIA GB10, [N/A], [N/A], [N/A]\n", 0, "does not tell the memory of a card"),
        ("GPU-aa, 0\n", 0, "does not tell the memory of a card"),
    ],
)
def test_a_driver_that_does_not_answer_is_told(
    tmp_path: Path, smi: Smi, cards: str, code: int, said: str
) -> None:
    smi.says(cards, code=code)
    with pytest.raises(FleetError, match=said):
        look(tmp_path, 500)


def test_the_first_gate_that_says_no_stops_the_rest(
    tmp_path: Path, smi: Smi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate of the model would knock at its door."""
    assert list(GATES) == ["device-memory", "llm-floor"]
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "fleet.toml").touch()
    monkeypatch.setenv("BARGEIN_HOME", str(tmp_path))
    runner = CliRunner()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        monkeypatch.setenv("LLM_URL", f"http://127.0.0.1:{server.getsockname()[1]}/v1")
        smi.says(IDLE)
        passed = runner.invoke(app, ["preflight", "device-memory", "--json"])
        assert passed.exit_code == 0
        assert json.loads(passed.stdout)["device-memory"]["cards"][0]["used_mb"] == 4
        smi.says(IDLE.replace(" 4,", " 99999,"), HOLDER)
        refused = runner.invoke(app, ["preflight"])
        assert refused.exit_code == 69
        assert refused.stderr.startswith("bargein: device-memory: card 0 (NVIDIA H200): 99999 MB")
        with pytest.raises(BlockingIOError):
            server.accept()
    smi.says(IDLE)
    refused = runner.invoke(app, ["preflight"])
    assert refused.exit_code == 69
    assert refused.stderr.startswith("bargein: llm-floor: ")
