"""llama-server's command line, and what is wrong with it before it is run; run: tests/engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.errors import FleetError
from bus.sections import Llama, Llm, LlmEndpoint
from bus.settings import Settings
from engines.llama_command import built_at, command, server_of, trouble
from ops.fleet_checks import check, llama_is_asked
from ops.supervisor import Supervisor
from tests.fleet import free_port


def make_home(folder: Path) -> Llama:
    """A project folder with a program where llama-server would be; no model yet."""
    server = built_at(folder)
    server.parent.mkdir(parents=True)
    server.touch()
    server.chmod(0o755)
    (folder / "config").mkdir()
    (folder / "config" / "fleet.toml").write_text("")
    return Llama(model="model.gguf", port=free_port())


def test_what_is_wrong_is_one_line_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama = make_home(tmp_path)
    assert "put the file there" in trouble(llama, tmp_path)
    model = tmp_path / "model.gguf"
    model.write_bytes(b"<html>")
    assert "is no GGUF file; fetch it again" in trouble(llama, tmp_path)
    model.write_bytes(b"GGUF")
    assert trouble(llama, tmp_path) == ""
    assert "name a .gguf file" in trouble(Llama(), tmp_path)
    assert "is no program" in trouble(Llama(model="model.gguf", server="model.gguf"), tmp_path)
    built_at(tmp_path).unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    if server_of(llama, tmp_path) is None:  # make engine-llama has not been run beside this code
        assert "`make engine-llama`" in trouble(llama, tmp_path)
    mine = tmp_path / "mine"
    mine.write_text("")
    mine.chmod(0o755)
    assert server_of(Llama(server="mine"), tmp_path) == mine


def test_the_command_gives_each_slot_its_context_and_bounds_a_cancel(tmp_path: Path) -> None:
    llama = make_home(tmp_path)
    line = command(llama, tmp_path)
    pairs = dict(zip(line[1::2], line[2::2], strict=False))
    assert (pairs["-np"], pairs["-c"], pairs["-b"], pairs["-ub"]) == ("4", "16384", "256", "256")
    assert pairs["--port"] == str(llama.port)
    more = Llama(model="m", threads=3, arguments=("-ngl", "99"))
    assert command(more, tmp_path)[-4:] == ["-t", "3", "-ngl", "99"]


def test_it_runs_when_an_endpoint_leads_to_it_and_up_says_what_is_missing(tmp_path: Path) -> None:
    llama = make_home(tmp_path)
    url = f"http://localhost:{llama.port}/v1"
    alone = Settings(home=tmp_path, llama=llama, llm=Llm(url=url))
    second = Llm(fallbacks=(LlmEndpoint(url=url, model="m"),))
    assert llama_is_asked(alone)
    assert llama_is_asked(Settings(home=tmp_path, llama=llama, llm=second))
    assert not llama_is_asked(Settings(home=tmp_path, llama=llama))
    (tmp_path / "supervisord.conf").touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    with pytest.raises(FleetError, match="put the file there"):
        check(alone, Supervisor(tmp_path))
