"""The CLI's manners: one line for an error, the right exit code, usage errors from typer."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.cli import app

runner = CliRunner()


@pytest.fixture(autouse=True)
def empty_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BARGEIN_HOME", str(tmp_path))


@pytest.mark.parametrize("words", [["status"], ["down"], ["restart", "stt"], ["cancel", "X"]])
def test_without_a_fleet_each_command_says_to_start_it(words: list[str]) -> None:
    result = runner.invoke(app, words)
    assert result.exit_code == 69
    assert result.stderr == "bargein: the fleet is not running; start it with `bargein up`\n"


def test_up_without_settings_exits_78(tmp_path: Path) -> None:
    result = runner.invoke(app, ["up"])
    assert result.exit_code == 78
    assert result.stderr.startswith(f"bargein: {tmp_path}/config/fleet.toml: no such file")


@pytest.mark.parametrize("words", [["up", "--bogus"], ["nosuch"], ["restart"]])
def test_usage_errors_exit_2(words: list[str]) -> None:
    assert runner.invoke(app, words).exit_code == 2


def test_an_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ops.fleet_commands.load", interrupted)
    result = runner.invoke(app, ["up"])
    assert (result.exit_code, result.stderr) == (130, "bargein: interrupted\n")
