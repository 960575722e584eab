"""Deepgram's pre-recorded transcription as a BatchStt: a WAV is posted, its words come back.

Protocol: https://developers.deepgram.com/reference/speech-to-text/listen-pre-recorded.
"""

from __future__ import annotations

import io
import wave

import httpx
import msgspec

from engines import deepgram_wire as wire
from engines.deepgram_wire import Heard, speaker_of, spoken
from engines.protocols import EngineError, Hypothesis
from engines.stt_deepgram import CLOSED, KEY, DeepgramSettings, KeyRefused, clean, refused

SLOWEST = 0.5
"""Seconds of waiting per second of sound, beyond the time to connect and to begin."""
BEGIN_S = 15.0


class _Results(msgspec.Struct, frozen=True):
    channels: tuple[Heard, ...]


class _Answer(msgspec.Struct, frozen=True):
    results: _Results


class DeepgramBatch:
    """One request a stretch; nothing is kept between two."""

    def __init__(self, settings: DeepgramSettings, key: str) -> None:
        """`key` goes into one header of each request, and nowhere else."""
        self._settings, self._key = settings, key
        self._client: httpx.AsyncClient | None = httpx.AsyncClient(
            headers={"Authorization": f"Token {key}"}
        )

    async def load(self) -> None:
        """The key is tried with the first stretch. Raises EngineError when there is none."""
        if not self._key:
            raise KeyRefused(f"no Deepgram key: {KEY}")

    async def transcribe(self, pcm: bytes, first: int) -> Hypothesis:
        """All words of mono int16 PCM at 16 kHz; positions are those of the call. Raises EngineError."""
        if self._client is None:
            raise EngineError(CLOSED)
        samples = len(pcm) // 2
        heard = _read(await self._posted(self._client, pcm, samples / wire.RATE))
        words = heard.alternatives[0].words if heard.alternatives else ()
        said = spoken(words, first)
        return Hypothesis(
            utterance=first,
            text=" ".join(word.text for word in said),
            start=first,
            end=first + samples,
            final=True,
            words=said,
            speaker=speaker_of(words),
        )

    async def close(self) -> None:
        """Let go of the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _posted(self, client: httpx.AsyncClient, pcm: bytes, seconds: float) -> bytes:
        settings = self._settings
        limits = httpx.Timeout(BEGIN_S + SLOWEST * seconds, connect=settings.connect_s)
        try:
            answer = await client.post(
                settings.batch_url,
                content=_wav(pcm),
                headers={"Content-Type": "audio/wav"},
                timeout=limits,
            )
        except httpx.HTTPError as error:
            what = str(error) or type(error).__name__
            raise EngineError(
                f"Deepgram gave no answer to {seconds:.1f} s of sound: {what}"
            ) from None
        if answer.status_code != 200:
            raise refused(answer.status_code, clean(answer.text, self._key))
        return answer.content


def _read(body: bytes) -> Heard:
    try:
        channels = msgspec.json.decode(body, type=_Answer).results.channels
    except msgspec.DecodeError as error:
        raise EngineError(f"Deepgram's answer is none of its protocol: {error}") from None
    return channels[0] if channels else Heard()


def _wav(pcm: bytes) -> bytes:
    """A WAV says by itself what it holds."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(wire.RATE)
        file.writeframes(pcm)
    return made.getvalue()
