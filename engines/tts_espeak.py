"""Text comes in, espeak-ng's speech goes out: 22050 Hz PCM with the place of every word.

The library (espeak-ng, in the espeakng-loader wheel) is GPL-3; this file alone touches it.

It is one set of C globals, so everything runs on one thread per process, whatever the number of
voices. Two of those globals (pitch flutter, phase of the voice) survive even `espeak_Terminate`, so
that the same sentence never sounds the same twice. Therefore the library is unloaded and loaded
afresh behind each synthesis (1.5 ms on that thread, off the way of the sound): what was spoken or
cut off before leaves no trace, and every synthesis of a text is the same to the byte.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from _ctypes import dlclose
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from engines.narration import Narration, speakable
from engines.protocols import Chunk, EngineError

RATE = 22_050
_SYNCHRONOUS, _DONT_EXIT, _UTF8, _BY_CHARACTER = 2, 0x8000, 1, 1
_RATE_PARAMETER, _PITCH_PARAMETER = 1, 3
_LIST_END, _WORD = 0, 1
_CHUNK_MS = 60  # espeak makes nothing shorter
EXAMPLES = ("en-us", "en", "de", "fr", "es", "it")
"""Voices to name in an error; not every language it lists is the name of one ("en-gb", "fr-fr")."""

_libc = ctypes.CDLL(None)
_libc.free.argtypes = (ctypes.c_void_p,)


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),  # the same place, exact
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


class _VoiceEntry(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),  # a priority byte, then the name
        ("identifier", ctypes.c_char_p),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
Sink = Callable[[bytes, list[tuple[int, int]]], bool]
"""Takes PCM and the WORD events in it as (character from 0, sample); False stops the synthesis."""


@dataclass(frozen=True)
class _Manner:
    """How to speak: a voice name, words per minute, pitch 0 to 99."""

    name: str
    words_per_minute: int
    pitch: int


class _Library:
    """libespeak-ng itself. Every method runs on the one worker thread."""

    def __init__(self) -> None:
        self._lib: Any = None
        self._callback: Any = None
        self._voices: Any = None
        self._used = False

    def load(self, manner: _Manner) -> None:
        """Load the library and check the voice. Raises EngineError."""
        self.refresh()
        self._speak_as(manner)

    def synthesise(self, text: str, manner: _Manner, sink: Sink) -> None:
        """Feed `sink` until the text is spoken or the sink says stop. Raises EngineError."""
        self.refresh()
        self._used = True
        self._speak_as(manner)
        self._callback = _as_callback(sink)
        self._lib.espeak_SetSynthCallback(self._callback)
        data = text.encode() + b"\0"
        if self._lib.espeak_Synth(data, len(data), 0, _BY_CHARACTER, 0, _UTF8, None, None):
            raise EngineError("espeak-ng refused the text: its data are damaged; reinstall")

    def refresh(self) -> None:
        """Make the library as if nothing had ever been spoken."""
        if self._lib is not None and self._used:
            self.unload()
        if self._lib is None:
            self._lib = _opened()
            self._voices = self._lib.espeak_ListVoices(None)

    def unload(self) -> None:
        """Give back all the library holds."""
        lib, self._lib, self._used = self._lib, None, False
        if lib is None:
            return
        lib.espeak_Terminate()
        dlclose(lib._handle)
        # Its array of voices is the one block Terminate leaves behind: 2 kB a sentence.
        _libc.free(self._voices)

    def _speak_as(self, manner: _Manner) -> None:
        if self._lib.espeak_SetVoiceByName(manner.name.encode()):
            raise EngineError(self._unknown(manner.name))
        self._lib.espeak_SetParameter(_RATE_PARAMETER, manner.words_per_minute, 0)
        self._lib.espeak_SetParameter(_PITCH_PARAMETER, manner.pitch, 0)
        self._lib.espeak_ng_SetRandSeed(1)

    def _unknown(self, name: str) -> str:
        entries = ctypes.cast(self._voices, ctypes.POINTER(ctypes.POINTER(_VoiceEntry)))
        count = 0
        while entries[count]:
            count += 1
        return (
            f"espeak-ng has no voice {name!r}; set one of its {count}, for example "
            f"{', '.join(EXAMPLES)}, or a variant such as en-us+f3"
        )


def _opened() -> Any:
    """The shared library, initialised for synchronous synthesis."""
    try:
        import espeakng_loader  # heavy only for those who speak with it

        lib = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineError(
            f"espeak-ng cannot be loaded ({error}); run: pip install espeakng-loader==0.2.4"
        ) from error
    lib.espeak_Synth.argtypes = (
        *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int),
        *(ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
    )
    lib.espeak_ListVoices.restype = ctypes.c_void_p
    lib.espeak_ng_SetRandSeed.argtypes = (ctypes.c_long,)
    if lib.espeak_Initialize(_SYNCHRONOUS, _CHUNK_MS, data, _DONT_EXIT) != RATE:
        raise EngineError("espeak-ng did not start: its data are damaged; reinstall")
    return lib


def _as_callback(sink: Sink) -> Any:
    def heard(wav: Any, count: int, events: Any) -> int:
        pcm = ctypes.string_at(wav, 2 * count) if wav and count else b""
        return 0 if sink(pcm, _word_events(events)) else 1

    return _Callback(heard)


def _word_events(events: Any) -> list[tuple[int, int]]:
    found = []
    index = 0
    while (event := events[index]).type != _LIST_END:
        if event.type == _WORD:
            found.append((event.text_position - 1, event.sample))
        index += 1
    return found


class _Flow:
    """Chunks from the worker thread to the loop, `depth` of them at most under way."""

    def __init__(self, depth: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Queue[Chunk | None] = asyncio.Queue()
        self._room = threading.Semaphore(depth)
        self._stopped = False

    def offer(self, chunks: list[Chunk]) -> bool:
        """Worker thread: hand over, waiting for room; False when nobody wants more."""
        return all(self._offer(chunk) for chunk in chunks) and not self._stopped

    def _offer(self, chunk: Chunk) -> bool:
        if not self._stopped:
            self._room.acquire()  # `stop` gives one place: it wakes a thread waiting here
        if self._stopped or self._loop.is_closed():
            return False
        self._loop.call_soon_threadsafe(self._ready.put_nowait, chunk)
        return True

    def end(self, _: object = None) -> None:
        """Any thread: nothing more will come."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ready.put_nowait, None)

    async def next(self) -> Chunk | None:
        """The next chunk, or None at the end."""
        chunk = await self._ready.get()
        self._room.release()
        return chunk

    def stop(self) -> None:
        """Loop: make the thread return from wherever it waits."""
        self._stopped = True
        self._room.release()


class _Desk:
    """The one thread of the process that may enter the library, shared by all voices."""

    def __init__(self) -> None:
        self.library = _Library()
        self._users = 0
        self._thread: ThreadPoolExecutor | None = None

    def enter(self) -> None:
        self._users += 1

    async def leave(self) -> None:
        self._users -= 1
        if self._users == 0 and self._thread is not None:
            thread, self._thread = self._thread, None
            await asyncio.wrap_future(thread.submit(self.library.unload))
            thread.shutdown()

    def submit(self, work: Callable[..., None], *args: object) -> Future[None]:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="espeak")
        return self._thread.submit(work, *args)


_desk = _Desk()


class EspeakVoice:
    """A Voice on espeak-ng: first sound after about a millisecond, 1200 times faster than speech.

    `name` is an espeak voice ("en-us", "de", "en-us+f3"), `words_per_minute` 80 to 450, `pitch`
    0 to 99. `depth` bounds the chunks (60 ms each) synthesised ahead of whoever takes them; a
    taker who stops taking holds up every voice of this process.
    """

    def __init__(
        self,
        name: str = "en-us",
        words_per_minute: int = 175,
        pitch: int = 50,
        depth: int = 64,
    ) -> None:
        if not (80 <= words_per_minute <= 450 and 0 <= pitch <= 99 and depth > 0):
            raise EngineError(
                "espeak-ng speaks 80 to 450 words per minute at pitch 0 to 99, depth 1 or more; "
                f"correct {words_per_minute} / {pitch} / {depth}"
            )
        self._manner = _Manner(name, words_per_minute, pitch)
        self._depth = depth
        self._loaded = False

    @property
    def rate(self) -> int:
        """Samples per second: 22050."""
        return RATE

    async def load(self) -> None:
        """Load the library and the voice. Raises EngineError, which names voices that exist."""
        if not self._loaded:
            _desk.enter()
            self._loaded = True
        try:
            await asyncio.wrap_future(_desk.submit(_desk.library.load, self._manner))
        except EngineError:
            await self.close()
            raise

    async def stream(self, text: str) -> AsyncGenerator[Chunk, None]:
        """Speak: chunks of 60 ms or less. Closing it returns when the thread has left the library.

        Text without a letter or digit yields nothing. Raises EngineError.
        """
        text = speakable(text)
        if not text:
            return
        if not self._loaded:
            raise EngineError("this voice is not loaded; await load() before stream()")
        flow = _Flow(self._depth)
        job = _desk.submit(_narrate, text, self._manner, flow)
        job.add_done_callback(flow.end)
        try:
            while (chunk := await flow.next()) is not None:
                yield chunk
        finally:
            flow.stop()
            await _out(job)
        job.result()

    async def close(self) -> None:
        """Let go of the library; the last voice of the process unloads it."""
        if self._loaded:
            self._loaded = False
            await _desk.leave()


def _narrate(text: str, manner: _Manner, flow: _Flow) -> None:
    """Worker thread: one synthesis. The library is refreshed by a job of its own, behind it."""
    narration = Narration(text)

    def sink(pcm: bytes, events: list[tuple[int, int]]) -> bool:
        return flow.offer(narration.push(pcm, events))

    try:
        _desk.library.synthesise(text, manner, sink)
        flow.offer(narration.finish())
    finally:
        _desk.submit(_desk.library.refresh)


async def _out(job: Future[None]) -> None:
    """Wait until the worker has left the job: not even a second cancel may orphan it."""
    if job.cancel():
        return
    again: asyncio.CancelledError | None = None
    left = asyncio.wrap_future(job)
    while not left.done():
        try:
            await asyncio.wait({left})
        except asyncio.CancelledError as error:
            again = error
    if again is not None:
        left.exception()
        raise again
