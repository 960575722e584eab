"""A real llama-server with a small random model: slots, cancels, the floor, a real call."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from bus.floor import ModelFile, read
from bus.sections import Llama, Llm
from bus.settings import Settings
from engines.llama_command import command, trouble
from engines.llm_openai import ChatSettings, OpenAiChat, Reading
from ops import llm_floor
from ops.cues import Cue
from ops.run_llama import child
from schemas import LlmStarted, Message, TurnCancelled, TurnEnded
from tests.engines.tiny_gguf import write
from tests.fleet import clip, fleet, free_port

ENDLESS = {"return_progress": True, "ignore_eos": True}
STORY = [Message("user", "the old ship " * 20)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model") / "tiny.gguf", width=256, layers=4)


@asynccontextmanager
async def serving(model: Path, **options: int) -> AsyncIterator[Llama]:
    """The program as the fleet starts it, ready; gone afterwards."""
    llama = Llama(model=str(model), port=free_port(), **options)  # type: ignore[arg-type]
    assert trouble(llama, model.parent) == ""
    async with child(command(llama, model.parent), quiet=True) as server:
        async with asyncio.timeout(60):
            await server.ready(llama.host, llama.port)
        yield llama


@asynccontextmanager
async def chat(llama: Llama, **more: object) -> AsyncIterator[OpenAiChat]:
    extra = {**ENDLESS, **more}
    made = OpenAiChat(ChatSettings(f"http://127.0.0.1:{llama.port}/v1", extra=extra))
    try:
        await made.load()
        yield made
    finally:
        await made.close()


async def test_each_call_keeps_its_slot_and_what_it_has_read(model: Path) -> None:
    """The beginning of a conversation is not read again by its own slot, whoever came in between."""
    async with serving(model, slots=2) as llama, chat(llama, max_tokens=8) as client:

        async def cached(call: str, messages: list[Message]) -> int:
            items = [item async for item in client.exchange(messages, call)]
            assert any(isinstance(item, str) for item in items)
            return max(item.cached for item in items if isinstance(item, Reading))

        assert await cached("a", STORY) == 0
        other = [Message("user", "rain and wind " * 20)]
        await cached("b", other)
        assert client.slots.taken == 2
        assert await cached("a", [*STORY, Message("user", "two")]) > 50
        assert await cached("b", [*other, Message("user", "two")]) > 50
        client.forget("a")
        client.forget("b")
        assert client.slots.taken == 0


async def test_a_closed_stream_frees_its_slot_for_the_next_request(model: Path) -> None:
    """Of an answer without an end: were it not stopped, the second would never be taken up."""
    async with serving(model, slots=1) as llama, chat(llama) as client:
        for _ in range(10):
            async with asyncio.timeout(40), aclosing(client.stream(STORY, "a")) as stream:
                assert isinstance(await anext(stream), str)


async def test_what_does_not_fit_its_context_loses_the_oldest_turns(model: Path) -> None:
    async with serving(model, slots=1, context=256) as llama, chat(llama, max_tokens=4) as client:
        talk = [message for _ in range(8) for message in (*STORY, Message("assistant", "ship"))]
        assert [text async for text in client.stream([*talk, Message("user", "one")], "a")]


async def test_requests_by_the_dozen_one_after_another_and_at_once(model: Path) -> None:
    """It closes each connection behind a stream: on a kept one some would fail."""
    async with serving(model, slots=2) as llama, chat(llama, max_tokens=4) as client:

        async def ask(call: str) -> int:
            return len([text async for text in client.stream(STORY, call)])

        for number in range(30):
            assert await ask(f"{number % 3}") > 0
        assert all(await asyncio.gather(*(ask(f"{number}") for number in range(6))))


@pytest.mark.timeout(300)
async def test_every_case_of_the_floor_is_measured(model: Path, tmp_path: Path) -> None:
    async with serving(model, slots=2) as llama:
        llm = Llm(url=f"http://127.0.0.1:{llama.port}/v1", model="tiny")
        settings = Settings(home=tmp_path, llama=llama, llm=llm)
        floor = await llm_floor.floor(settings, 30, lambda *_: None)
    print(floor)
    assert len(floor.cases) == 4
    assert all(case.n == 30 for case in floor.cases.values())


@pytest.mark.timeout(300)
def test_preflight_starts_it_if_need_be_and_stores_what_it_measured(
    model: Path, tmp_path: Path
) -> None:
    port = free_port()
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "fleet.toml").write_text(
        f"[llama]\nmodel = '{model}'\nport = {port}\n"
        f"[llm]\nurl = 'http://127.0.0.1:{port}/v1'\nmodel = 'tiny'\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ops.cli", "preflight", "llm-floor", "--json"],
        env={"BARGEIN_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    floor = read(tmp_path, f"http://127.0.0.1:{port}/v1", "tiny", ModelFile.at(model))
    assert floor is not None
    assert json.loads(done.stdout)["llm-floor"]["cases"].keys() == floor.cases.keys()


def test_a_caller_interrupts_a_call_that_is_answered_by_it(model: Path) -> None:
    """One line of fleet.toml leads there; supervisord runs it; a CANCEL stops it like any other."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    changes = {
        'url = "http://127.0.0.1:8808/v1"': f'url = "{url}"',
        'model = ""': f'model = "{model}"',
        "port = 8810": f"port = {port}",
        "arguments = []": 'arguments = ["-n", "60"]',  # tokens: by itself it never ends
    }
    clips = [
        clip("long_request", "rms", "tell me a very long story", Cue("clock", 0.5)),
        clip(
            "interruption",
            "rms",
            "wait a minute, what is twelve times seven",
            Cue("speaks", 2.0),
        ),
    ]
    with fleet(changes) as running:
        [process] = [each for each in running.supervisor.processes() if each.name == "llama"]
        assert process.pid
        _, records = running.place(clips, longest_wait_s=5.0)
        events = [record.event for record in records]
        assert any(isinstance(event, LlmStarted) for event in events)
        tables = [event for event in events if isinstance(event, TurnCancelled)]
        assert any(event.reason.startswith("barge-in") for event in tables)
        assert {row.verdict for table in tables for row in table.rows} == {"released"}
        assert any(isinstance(e, TurnEnded) and e.outcome == "interrupted" for e in events)
