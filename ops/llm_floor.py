"""A chat server goes in; how long it takes to let go of a cancelled answer comes out, in ms.

A cancel is the closing of the connection. The server has let go when it takes up the next request on the
same slot: llama-server says so itself (its first progress report), of others the first text is awaited,
which makes the figure larger, never smaller. /slots is not asked: that would delay what is measured.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime

import numpy as np

from bus.floor import Figures, Floor, leads_to
from bus.settings import Settings
from engines.llama_command import command, trouble
from engines.llm_openai import ChatSettings, OpenAiChat, Reading
from engines.protocols import EngineError
from ops.run_llama import child
from schemas import Message

ALONE, BESIDE = "alone", "beside another"
ATTEMPTS = 10
"""Per sample: an answer may be over before it could be cancelled."""
PATIENCE_S = 60.0
PROMPT_WORDS = 4000
Told = Callable[[str, int, int], None]
"""What is measured now, how many are done, of how many."""


async def floor(settings: Settings, n: int, told: Told) -> Floor:
    """`n` cancels of each case. Raises EngineError when the server is not there or won't be measured."""
    endpoint = settings.llm.endpoints[0]
    async with AsyncExitStack() as stack:
        await _there(settings, stack)
        load = {"return_progress": True, "ignore_eos": True}
        long = ChatSettings(
            endpoint.url,
            endpoint.model,
            settings.llm.connect_timeout_s,
            first_token_s=PATIENCE_S,
            between_tokens_s=PATIENCE_S,
            extra=load,
        )
        short = replace(long, extra={"return_progress": True, "max_tokens": 1})
        key = settings.llm.key_of(0).reveal()
        writer, asker = OpenAiChat(long, key), OpenAiChat(short, key)
        for chat in (writer, asker):
            stack.push_async_callback(chat.close)
            await chat.load()
        gauge = Gauge(writer, asker, told)
        idle = await gauge.series("idle", gauge.idle, max(10, n // 3))
        cases = {}
        for beside in (False, True):
            where = BESIDE if beside else ALONE
            async with gauge.company() if beside else AsyncExitStack():
                for name, one in (("decode", gauge.decode), ("prefill", gauge.prefill)):
                    cases[f"{name}, {where}"] = await gauge.series(f"{name}, {where}", one, n)
    at = datetime.now().astimezone().isoformat(timespec="seconds")
    return Floor(
        at=at,
        url=endpoint.url,
        model=endpoint.model,
        idle=idle,
        cases=cases,
        file=settings.model_file(),
    )


async def _there(settings: Settings, stack: AsyncExitStack) -> None:
    """The llama-server of this fleet need not run yet: then it does so while it is measured."""
    llama = settings.llama
    if not leads_to(settings.llm.url, llama.host, llama.port):
        return
    with suppress(OSError):
        _, writer = await asyncio.open_connection(llama.host, llama.port)
        writer.close()
        return
    if why := trouble(llama, settings.home):
        raise EngineError(why)
    server = await stack.enter_async_context(child(command(llama, settings.home), quiet=True))
    await server.ready(llama.host, llama.port)


class Gauge:
    """`long` writes until it is stopped, `short` asks for one token: that is the next request."""

    def __init__(self, long: OpenAiChat, short: OpenAiChat, told: Told) -> None:
        self._long, self._short, self._told = long, short, told
        self._words = PROMPT_WORDS
        self._first_text_s = 0.0
        self._random = random.Random(0)

    async def series(
        self, name: str, one: Callable[[], Awaitable[float | None]], n: int
    ) -> Figures:
        """`n` times; what was over before it could be cancelled does not count."""
        taken: list[float] = []
        for _ in range(ATTEMPTS * n):
            if (ms := await one()) is not None:
                taken.append(ms)
            self._told(name, len(taken), n)
            if len(taken) == n:
                return figures(taken)
        raise EngineError(
            f"{name}: only {len(taken)} of {n} answers could be cancelled before they were over; "
            "this model is too quick to be measured so"
        )

    async def idle(self) -> float | None:
        """The next request when nothing was cancelled before."""
        return await self._taken_up(asyncio.get_running_loop().time())

    async def decode(self) -> float | None:
        """Cancelled while it writes: some tokens in, at any moment between two."""
        loop = asyncio.get_running_loop()
        tokens, last_s, gap_s = 0, 0.0, 0.0
        wanted = self._random.randint(3, 12)
        async with aclosing(self._long.exchange(self._question(40), "floor")) as items:
            async for item in items:
                if isinstance(item, str):
                    tokens, gap_s, last_s = tokens + 1, loop.time() - last_s, loop.time()
                if tokens == wanted:
                    break
            else:
                return None
            await asyncio.sleep(self._random.random() * min(gap_s, 1.0))
            closed_s = loop.time()
        return await self._taken_up(closed_s)

    async def prefill(self) -> float | None:
        """Cancelled while it reads a long prompt, at any moment of that."""
        loop = asyncio.get_running_loop()
        if not self._first_text_s:
            await self._learn_length()
        began_s = loop.time()
        moment_s = began_s + self._first_text_s * self._random.uniform(0.1, 0.9)
        try:
            async with (
                asyncio.timeout_at(moment_s),
                aclosing(self._long.exchange(self._question(self._words), "floor")) as items,
            ):
                async for item in items:
                    if isinstance(item, str):
                        self._first_text_s = loop.time() - began_s  # quicker than it was
                        return None
        except TimeoutError:
            return await self._taken_up(moment_s)
        return None

    async def _learn_length(self) -> None:
        """How long a prompt may be here, and how long reading it takes."""
        while True:
            began_s = asyncio.get_running_loop().time()
            try:
                async with aclosing(
                    self._long.exchange(self._question(self._words), "floor")
                ) as items:
                    async for item in items:
                        if isinstance(item, str):
                            break
            except EngineError:
                if self._words < 100:
                    raise
                self._words //= 2
            else:
                self._first_text_s = asyncio.get_running_loop().time() - began_s
                return

    async def _taken_up(self, since_s: float) -> float:
        """ms from `since_s` until the next request on the same slot is worked on."""
        async with aclosing(self._short.exchange([Message("user", "Hello.")], "floor")) as items:
            await anext(items, None)
            took_s = asyncio.get_running_loop().time() - since_s
            async for _ in items:
                pass
        return took_s * 1000

    def _question(self, words: int) -> Sequence[Message]:
        """Never the same twice, lest the server know its beginning."""
        noise = " ".join(str(self._random.randint(10, 99)) for _ in range(words))
        return [Message("user", f"{noise}. Tell me a very long story about these numbers.")]

    @asynccontextmanager
    async def company(self) -> AsyncGenerator[None, None]:
        """Meanwhile another call is being answered, on a slot of its own."""
        if self._long.slots.of("floor") is not None and self._long.slots.of("beside") is None:
            raise EngineError(
                "it has one slot only; give it two (llama.slots) to measure beside another"
            )
        writing = asyncio.Event()
        task = asyncio.create_task(self._write_on(writing))
        waiting = asyncio.create_task(writing.wait())
        try:
            await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
            yield
        finally:
            waiting.cancel()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _write_on(self, writing: asyncio.Event) -> None:
        while True:
            async with aclosing(self._long.exchange(self._question(40), "beside")) as items:
                async for item in items:
                    if not isinstance(item, Reading):
                        writing.set()


def figures(taken_ms: Sequence[float]) -> Figures:
    """p50, p95 (linear between ranks) and the largest, ms."""
    p50, p95 = np.percentile(np.array(taken_ms), [50, 95])
    return Figures(
        n=len(taken_ms),
        p50_ms=round(float(p50), 1),
        p95_ms=round(float(p95), 1),
        max_ms=round(max(taken_ms), 1),
    )
