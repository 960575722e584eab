"""supervisord.conf agrees with fleet.toml, and what would keep the fleet down is told beforehand."""

from __future__ import annotations

import configparser
import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from bus.errors import FleetError, FleetNotRunning, PathTooLong
from bus.sections import Llm, Responder
from bus.settings import Settings, load
from ops.fleet_checks import port_is_free, responder_is_asked, room
from ops.fleet_status import differences, shell_differs
from ops.supervisor import Supervisor, leftovers
from schemas import Flag

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def conf() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    parser.read(REPO / "supervisord.conf")
    return parser


def programs(conf: configparser.RawConfigParser) -> dict[str, str]:
    """Program → command."""
    return {
        section.removeprefix("program:"): conf[section]["command"]
        for section in conf.sections()
        if section.startswith("program:")
    }


def test_the_roster_and_supervisord_conf_agree(conf: configparser.RawConfigParser) -> None:
    actors = {
        name for name, command in programs(conf).items() if command.endswith(f"-m actors {name}")
    }
    assert actors == set(load(REPO / "config" / "fleet.toml", {}).fleet.roster)


def test_every_program_always_comes_back(conf: configparser.RawConfigParser) -> None:
    for name in programs(conf):
        program = conf[f"program:{name}"]
        assert program["autorestart"] == "unexpected"
        assert program["exitcodes"] == "78"
        assert program["startsecs"] == "0"


def test_every_program_runs_isolated_in_the_environment_of_the_project(
    conf: configparser.RawConfigParser,
) -> None:
    for command in programs(conf).values():
        assert command.startswith('"%(here)s/.venv/bin/python" -P -m ')


def test_its_folders_are_part_of_a_fresh_clone() -> None:
    for kept in ("var/run/.gitkeep", "var/log/.gitkeep"):
        assert (REPO / kept).exists()
        ignored = subprocess.run(["git", "check-ignore", "-q", kept], cwd=REPO, check=False)
        assert ignored.returncode == 1


def test_a_home_too_deep_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PathTooLong, match="move the project to a shorter path"):
        Supervisor(tmp_path / ("x" * 100))


def test_no_supervisord_means_not_running(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    assert supervisor.pid() == 0
    for order in (supervisor.processes, supervisor.shutdown):
        with pytest.raises(FleetNotRunning, match="bargein up"):
            order()
    assert leftovers(tmp_path) == []


def test_a_stranger_with_the_pid_of_the_former_supervisord_is_not_it(tmp_path: Path) -> None:
    run = tmp_path / "var" / "run"
    run.mkdir(parents=True)
    (run / "supervisord.pid").write_text("1")
    assert Supervisor(tmp_path).pid() == 0


def test_restarts_are_counted_since_the_last_start(tmp_path: Path) -> None:
    logs = tmp_path / "var" / "log"
    logs.mkdir(parents=True)
    at = "2026-01-01 00:00:00,000 INFO"
    old = f"{at} spawned: 'stt' with pid 5\n{at} spawned: 'stt' with pid 6\n"
    start = f"{at} supervisord started with pid 0\n"
    (logs / "supervisord.log.1").write_text(f"{old}{start}{at} spawned: 'stt' with pid 7\n")
    (logs / "supervisord.log").write_text(
        f"{at} spawned: 'llm' with pid 8\n{at} spawned: 'stt' with pid 9\n"
    )
    assert Supervisor(tmp_path).restarts() == {"stt": 1, "llm": 0}


def test_only_new_lines_of_a_log_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "var" / "log" / "stt.log"
    log.parent.mkdir(parents=True)
    log.write_text("of yesterday\n")
    supervisor = Supervisor(tmp_path)
    with log.open("a") as file:
        file.write("one\ntwo\n")
    assert supervisor.log_tail("stt") == ["one", "two"]
    assert supervisor.log_tail("llm") == []


def test_room_makes_the_folder_and_leaves_nothing(tmp_path: Path) -> None:
    room(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_an_unusable_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file where a folder should be")
    with pytest.raises(FleetError, match=r"can't be written: .*; free space there"):
        room(tmp_path / "var" / "run")


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """A file size limit stands for the full disk: both make write() fail."""
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from ops.fleet_checks import room\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "room(Path(sys.argv[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-B", "-c", script, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "FleetError" in done.stderr
    assert "can't be written: File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_names_its_holder() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FleetError, match=rf"{port}: .*held by process {os.getpid()}.*LLM_URL"):
            port_is_free("127.0.0.1", port)


def test_the_responder_is_needed_only_when_llm_url_leads_to_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert responder_is_asked(settings)
    for changed in (
        {"llm": Llm(url="http://127.0.0.1:9999/v1")},
        {"llm": Llm(url="https://models.example/v1")},
        {"responder": Responder(port=8809)},
    ):
        assert not responder_is_asked(msgspec.structs.replace(settings, **changed))


def test_a_flag_that_differs_needs_a_restart() -> None:
    running: dict[str, Flag] = {"fleet.enable_barge_in": True, "tts.voice": "en-us"}
    configured: dict[str, Flag] = {
        "fleet.enable_barge_in": False,
        "tts.voice": "en-us",
        "tts.new": 3,
    }
    assert differences(running, configured) == {
        "fleet.enable_barge_in": "True → False",
        "tts.new": "unset → 3",
    }
    assert differences({}, configured) == {}


def test_a_variable_of_this_shell_alone_is_noted(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    assert shell_differs(supervisor, {"ENABLE_BARGE_IN": "0", "HOME": "/"}) == ["ENABLE_BARGE_IN"]
    assert shell_differs(supervisor, {}) == []
