"""llama-server's parent, with the real one: reasons told on its port, no orphan left, started anew."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from bus.sections import Llama
from engines.llm_openai import ChatSettings, OpenAiChat
from tests.engines.tiny_gguf import write
from tests.fleet import free_port


@asynccontextmanager
async def attended(folder: Path, llama: Llama) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m ops.run_llama` of that folder."""
    server = f"server = '{llama.server}'\n" if llama.server else ""
    toml = f"[llama]\nmodel = '{llama.model}'\nport = {llama.port}\n{server}"
    (folder / "config" / "fleet.toml").write_text(toml)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "ops.run_llama"),
        env={
            **os.environ,
            "BARGEIN_HOME": str(folder),
            "LLM_URL": f"http://127.0.0.1:{llama.port}/v1",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # or its pipe warns


async def said(process: asyncio.subprocess.Process, words: str) -> str:
    """Its next line with these words."""
    assert process.stdout is not None
    async for line in process.stdout:
        if words in line.decode():
            return line.decode()
    raise AssertionError(f"it ended without saying {words!r}")


async def health(llama: Llama) -> str:
    """What llm would show in `bargein status`; "" when it is ready."""
    chat = OpenAiChat(ChatSettings(f"http://127.0.0.1:{llama.port}/v1", connect_s=5.0))
    await chat.healthy()
    await chat.close()
    return chat.reason


async def test_why_it_is_not_there_is_told_on_its_port_and_it_comes_when_that_is_mended(
    tmp_path: Path,
) -> None:
    """No model; half of one; a whole one. Killed, it leaves no child; its child killed, it ends."""
    (tmp_path / "config").mkdir()
    llama, model = Llama(model="model.gguf", port=free_port()), tmp_path / "model.gguf"
    async with asyncio.timeout(60), attended(tmp_path, llama) as process:
        line = await said(process, "tried again in 2 s")
        assert "put the file there or correct the path" in line
        assert "model.gguf: No such file" in await health(llama)
        whole = write(model).read_bytes()
        model.write_bytes(whole[: len(whole) // 2])
        line = await said(process, "tried again in 4 s")
        assert "llama-server can't start: " in line
        assert "see var/log/llama.log" in line
        model.write_bytes(whole)
        await said(process, "llama: ready")
        assert await health(llama) == ""
        [child] = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        gone, alive = await asyncio.to_thread(psutil.wait_procs, [child], 10)
        assert (gone, alive) == ([child], [])
    async with asyncio.timeout(60), attended(tmp_path, llama) as process:
        await said(process, "llama: ready")
        [child] = psutil.Process(process.pid).children()
        child.kill()
        assert await process.wait() == 1
    async with asyncio.timeout(60), attended(tmp_path, llama) as process:
        await said(process, "llama: ready")
        process.terminate()
        assert await process.wait() == 0


async def test_a_program_that_is_no_llama_server_is_told(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    write(tmp_path / "model.gguf")
    script = tmp_path / "server"
    script.write_bytes(b"\x7fELF but not really")
    script.chmod(0o755)
    llama = Llama(model="model.gguf", server="server", port=free_port())
    async with asyncio.timeout(60), attended(tmp_path, llama) as process:
        assert "can't be run (Exec format error)" in await said(process, "tried again")
        assert "can't be run (Exec format error)" in await health(llama)
