"""The model's cancel floor: measured of a real server, stored, and taken as the budget of a CANCEL."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bus.floor import Figures, Floor, path_in, read, write
from bus.sections import Llm
from bus.settings import Settings, load
from engines.protocols import EngineError
from engines.responder.server import Pace, Stats, application, serving
from ops import llm_floor, report
from ops.call_tables import CancelRow
from ops.fleet_commands import with_budget
from ops.fleet_status import Row
from ops.preflight_commands import budget_line
from ops.tap_view import round_table
from schemas import TurnCancelled

URL, MODEL = "http://127.0.0.1:8808/v1", "embedded"


def figures(p95_ms: float) -> Figures:
    return Figures(n=30, p50_ms=1.0, p95_ms=p95_ms, max_ms=90.0)


def floor(*p95_ms: float, model: str = MODEL) -> Floor:
    cases = {str(number): figures(ms) for number, ms in enumerate(p95_ms)}
    return Floor(at="2026-01-01T10:00:00", url=URL, model=model, idle=figures(1.0), cases=cases)


def home_of(folder: Path, toml: str = "") -> dict[str, str]:
    (folder / "config").mkdir()
    (folder / "config" / "fleet.toml").write_text(toml)
    return {"BARGEIN_HOME": str(folder)}


def test_the_slowest_case_and_500_ms_are_the_budget(tmp_path: Path) -> None:
    env = home_of(tmp_path)
    assert load(env=env).cancel.release_ms == 1000
    assert "no floor measured" in budget_line(load(env=env))
    write(tmp_path, floor(12.0, 41.2, 30.0))
    settings = load(env=env)
    assert settings.cancel.release_ms == 542
    assert "cancel budget 542 ms (LLM floor 41 ms" in budget_line(settings)
    assert "measured 2026-01-01T10:00:00, + 500 ms" in budget_line(settings)


def test_a_floor_belongs_to_the_file_that_the_fleet_s_own_server_reads(tmp_path: Path) -> None:
    """Whatever is put behind the link or in its place is another model, though its name is the same."""
    url = "http://127.0.0.1:8810/v1"
    env = home_of(
        tmp_path, f"[llm]\nurl = '{url}'\nmodel = 'llm'\n[llama]\nmodel = 'models/llm.gguf'\n"
    )
    link = tmp_path / "models" / "llm.gguf"
    link.parent.mkdir()
    for name in ("one", "two"):
        (link.parent / name).write_bytes(b"GGUF")
    assert load(env=env).model_file() is None
    link.symlink_to("one")
    file = load(env=env).model_file()
    assert file is not None
    assert (Path(file.path), file.size_bytes) == (tmp_path / "models" / "one", 4)
    write(tmp_path, msgspec.structs.replace(floor(41.2, model="llm"), url=url, file=file))
    assert load(env=env).cancel.release_ms == 542
    link.unlink()
    link.symlink_to("two")
    assert load(env=env).cancel.release_ms == 1000
    assert "is of another model file" in budget_line(load(env=env))
    link.unlink()
    link.symlink_to("one")
    assert load(env=env).cancel.release_ms == 542
    link.write_bytes(b"GGUF, and another one")
    assert load(env=env).cancel.release_ms == 1000
    assert load(env={**env, "LLM_URL": URL}).model_file() is None, "it is somebody else's server"


def test_the_budget_is_shown_where_a_cancel_is(tmp_path: Path) -> None:
    env = home_of(tmp_path)
    write(tmp_path, floor(41.2))
    settings = load(env=env)
    row = with_budget(Row(actor="turn_manager", pid=1, state="running"), settings)
    assert (row.cancel_budget_ms, with_budget(row, load(env=env)), row.cancel_budget[:15]) == (
        542,
        row,
        "LLM floor 41 ms",
    )
    other = Row(actor="llm", pid=2, state="running")
    assert with_budget(other, settings) == other
    ended = TurnCancelled(call="C", turn=7, reason="r", sent_ns=0, rows=(), took_ms=1.0)
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(round_table(ended, settings.cancel.release_ms))
    leg = CancelRow(7, "r", "llm", "released", 1.0, 2.0, "", 1.0)
    console.print(report._cancels([leg], settings.cancel.release_ms))
    assert console.export_text().count("budget 542 ms") == 2


def test_what_was_measured_of_another_model_or_can_t_be_read_does_not_count(tmp_path: Path) -> None:
    env = home_of(tmp_path)
    write(tmp_path, floor(12.0, model="other"))
    assert load(env=env).cancel.release_ms == 1000
    assert read(tmp_path, URL, "other") == floor(12.0, model="other")
    for spoilt in (b"{}", b"nonsense", b""):
        path_in(tmp_path).write_bytes(spoilt)
        assert load(env=env).cancel.release_ms == 1000


def test_the_budget_stays_within_the_round(tmp_path: Path) -> None:
    env = home_of(tmp_path, "[cancel]\nover_floor_ms = 0\n")
    write(tmp_path, floor(0.4))
    assert load(env=env).cancel.release_ms == 250  # cancel.stuck_ms
    write(tmp_path, floor(1e9))
    assert load(env=env).cancel.release_ms == 60_000


async def test_every_case_is_measured_of_a_server_without_slots(tmp_path: Path) -> None:
    """The responder's first token takes 20 ms: so does the next request, or a little more."""
    stats, told = Stats(), []
    async with asyncio.timeout(30), serving(application(Pace(500.0, 0.02), stats)) as url:
        settings = Settings(home=tmp_path, llm=Llm(url=f"{url}/v1", model="m"))
        found = await llm_floor.floor(settings, 2, lambda *news: told.append(news))
    assert set(found.cases) == {
        f"{name}, {where}"
        for name in ("decode", "prefill")
        for where in ("alone", "beside another")
    }
    assert all(case.n == 2 for case in found.cases.values())
    assert found.idle.p50_ms >= 20
    assert found.floor_ms == max(case.p95_ms for case in found.cases.values()) >= 20
    assert stats.active == 0
    assert stats.cancelled >= 9  # 8 cancels and the other's answer
    assert ("decode, alone", 2, 2) in told


async def test_a_server_that_is_not_there_or_too_quick_is_told(tmp_path: Path) -> None:
    nobody = Settings(home=tmp_path, llm=Llm(url="http://127.0.0.1:1/v1"))
    with pytest.raises(EngineError, match="start it"):
        await llm_floor.floor(nobody, 2, lambda *_: None)
