"""The benches run: the whole machinery of each with a handful of samples, no figure judged."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from ops.cli import app
from soak import (
    bench,
    bench_calls,
    bench_endpoint,
    bench_fanout,
    bench_idle,
    bench_journal,
    bench_load,
    bench_oneway,
    bench_stale,
    bench_voice,
)
from soak.bench_engines import CleanVoice, heard_of, sentence
from soak.bench_home import fleet, scratch, with_responder
from soak.bench_kit import Bench, Result, Row, percentile
from tests.tape import calm_call

ALONE = {
    "fan-out": bench_fanout.run,
    "one-way": bench_oneway.run,
    "calls": bench_calls.run,
    "journal": bench_journal.run,
}


@pytest.mark.parametrize("name", ALONE)
def test_each_bench_measures(name: str) -> None:
    run: Bench = ALONE[name]
    told: list[str] = []
    result = run(told.append, True)
    assert told
    judge(result)


def silent(text: str) -> None:
    """Nobody looks."""


def judge(result: Result) -> None:
    """It has figures, and a bar."""
    assert all(math.isfinite(row.value) for row in result.rows)
    assert any(row.bar is not None for row in result.rows)


def test_a_fleet_is_measured_idle_under_load_and_interrupted() -> None:
    """Three benches on one fleet: most of the time is its start."""
    tables, variant = with_responder(bench_load.SETTINGS), {"BENCH_VARIANT": "clean"}
    with scratch(tables) as settings, fleet(settings, variant, "soak.bench_actor") as supervisor:
        judge(bench_idle.measured(supervisor, 0.2))
        judge(bench_load.measured(settings.home, 2, silent))
        judge(bench_stale.measured(settings.home, bench_stale.Variant("clean"), 2, silent))


def test_all_benches_are_listed() -> None:
    fleets = {"idle": bench_idle.run, "fenced under load": bench_load.run, "stale": bench_stale.run}
    voices = {"voice to voice": bench_voice.run, "endpointing": bench_endpoint.run}
    assert {**ALONE, **fleets, **voices} == bench.BENCHES


def test_endpointing_is_measured_without_a_fleet() -> None:
    """Real detector, real recogniser; who has asked waits less than who was cut into would have to."""
    result = bench_endpoint.run(silent, True)
    figures = {row.name: row.value for row in result.rows}
    assert figures["by words: wait p50"] == 320
    assert figures["by words: pauses cut into"] == 0
    assert figures["fixed 300 ms: pauses cut into"] > 90
    assert figures["beginnings of sentences taken for complete"] < 30


def test_voice_to_voice_is_what_the_trace_says() -> None:
    """The call on the tape: silent at 1500 ms, sure and asked at 1800, heard at 1900."""
    (turn,) = bench_voice.figures(calm_call())
    assert (turn["total"], turn["endpoint"], turn["rest"], turn["known"]) == (400, 300, 100, 301)
    found = {row.name: row for row in bench_voice.rows([turn], 1, 0)}
    assert found["not the endpoint wait p50"].verdict is True
    assert found["turns heard"].value == 1


def test_a_row_is_judged_by_its_bar() -> None:
    def verdict(value: float, bar: float | None, sense: str = "<=") -> bool | None:
        row = {"bench": "b", "name": "n", "value": value, "unit": "ms", "bar": bar, "sense": sense}
        return msgspec.convert(row, Row).verdict

    assert verdict(1.0, None) is None
    assert verdict(1.0, 1.0) is True
    assert verdict(1.1, 1.0) is False
    assert verdict(0.9, 1.0, ">=") is False
    assert verdict(math.nan, 1.0) is False


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (50, 99, 100)] == [50.0, 99.0, 100.0]
    assert math.isnan(percentile([], 50))


async def test_the_artificial_voice_tells_what_was_heard() -> None:
    """A word counts once half of it was played."""
    chunks = [chunk async for chunk in CleanVoice().stream(sentence(0))]
    words = [word for chunk in chunks for word in chunk.words]
    assert [word.text for word in words] == sentence(0).split()
    middle = (words[7].start + words[7].end) // 2
    assert heard_of(middle - 1) == sentence(0).split()[:7]
    assert heard_of(middle) == sentence(0).split()[:8]
    assert b"\0\0" not in {chunk.pcm[at : at + 2] for chunk in chunks for at in range(0, 400, 2)}


def test_an_unknown_bench_is_named() -> None:
    done = CliRunner().invoke(app, ["bench", "--only", "speed"])
    assert done.exit_code == 64


def test_the_figures_are_kept(tmp_path: Path) -> None:
    row = Row(bench="b", name="n", value=2.0, unit="ms", bar=1.0)
    bench.write(tmp_path / "sub" / "bench.json", {"cores": 2}, [Result(bench="b", rows=(row,))])
    kept = msgspec.json.decode((tmp_path / "sub" / "bench.json").read_bytes())
    assert kept["machine"] == {"cores": 2}
    assert kept["benches"][0]["rows"][0]["ok"] is False
