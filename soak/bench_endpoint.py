"""Endpointing off line: shipped clips through detector and recogniser; cut-ins against the wait come out.

Who pauses in mid-question (openings such as "can you tell me") should be waited for; who has asked
should not wait. A cut-in is a wait shorter than the pause; the pauses are spread evenly over PAUSES_MS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import mean

from actors.endpointing import BySound, ByWords, EndOfTurn, Fixed, Pause, Waits, ending
from actors.segmenter import WINDOW, Ended, Segmenter, Started, Thresholds, Window
from bus.sections import Turns
from engines.energy import level_dbfs
from engines.protocols import EngineError
from engines.stt_pocketsphinx import PocketsphinxEngine
from engines.turn_smart import SmartTurn
from engines.vad_silero import PysileroVad
from soak import caller_set
from soak.bench_kit import Result, Row, Tell, percentile
from soak.caller_set import Clip
from soak.duplex.trials import DUPLEX, PAUSES_MS

NAME = "endpointing"
PREROLL, TAIL = 400 * 16, 16_000
PACKET = 640
LULL = 96 * 16
STEP_MS = 10
BROKEN_OFF = ("question", "long_request", "interruption", "addition")


def run(tell: Tell, tiny: bool) -> Result:
    """Every opening and every question once, their words as the recogniser hears them."""
    questions = caller_set.find("question")
    openings = [clip for clip in caller_set.load(DUPLEX) if clip.kind == "opening"]
    if tiny:
        questions, openings = questions[:1], openings[:1]
    tell(f"{len(questions) + len(openings)} clips")
    heard = asyncio.run(_heard([*questions, *openings]))
    detail_done = [pause.done for pause in heard]
    done, paused = heard[: len(questions)], heard[len(questions) :]
    words = {"questions": [p.words for p in done], "openings": [p.words for p in paused]}
    detail: dict[str, object] = {**words, "done, nats": detail_done}
    return Result(bench=NAME, rows=tuple(rows(done, paused)), detail=detail)


async def _heard(clips: Sequence[Clip]) -> list[Pause]:
    """What is known in the pause behind each clip."""
    vad, engine, listener = PysileroVad(), PocketsphinxEngine(), _listener()
    vad.load()
    await engine.load()
    session = await engine.open()
    results = session.results()
    pauses = []
    try:
        for number, clip in enumerate(clips):
            pcm = bytes(2 * PREROLL) + clip.pcm() + bytes(2 * TAIL)
            onset, end, voiced = _speech(vad, pcm)
            start = 2 * max(0, onset - PREROLL)
            session.begin(number, 0)
            lull = 2 * (end + LULL)
            sounds_done = listener(pcm[start:lull]) if listener else 0.0
            for at in range(start, lull, PACKET):
                session.feed(pcm[at : at + PACKET])
            session.finish()
            async for guess in results:
                if guess.final:
                    pauses.append(Pause(guess.text, 0.0, voiced / 16, sounds_done))
                    break
    finally:
        await engine.close()
    return pauses


def _listener() -> SmartTurn | None:
    """smart-turn where `make engine-smart-turn` has installed it."""
    listener = SmartTurn()
    try:
        listener.load()
    except EngineError:
        return None
    return listener


def _speech(vad: PysileroVad, pcm: bytes) -> tuple[int, int, int]:
    """First onset, last voiced sample, voiced samples in all."""
    segmenter = Segmenter(Thresholds())
    onset, end, voiced = -1, 0, 0
    for number, probability in enumerate(vad.open().push(pcm)):
        sound = pcm[2 * WINDOW * number : 2 * WINDOW * (number + 1)]
        for mark in segmenter.push(Window((number + 1) * WINDOW, probability, level_dbfs(sound))):
            if isinstance(mark, Started) and onset < 0:
                onset = mark.onset
            elif isinstance(mark, Ended):
                end, voiced = mark.end, voiced + mark.voiced
    return max(0, onset), end or len(pcm) // 2, voiced


def policies() -> Mapping[str, EndOfTurn]:
    """The default, and what it is to be compared with."""
    turns = Turns()
    waits = Waits(
        open=turns.endpoint_ms,
        complete=turns.endpoint_complete_ms,
        unfinished=turns.endpoint_unfinished_ms,
        dictation=turns.endpoint_dictation_ms,
    )
    fixed = {f"fixed {ms} ms": Fixed(ms) for ms in (300, 600, 900)}
    words = ByWords(waits)
    return {"by words": words, "by sound (smart-turn)": BySound(waits, words), **fixed}


def rows(done: Sequence[Pause], paused: Sequence[Pause]) -> list[Row]:
    """Per policy: the wait behind a whole question, and the share of pauses it cuts into."""
    row = partial(Row, bench=NAME)
    found = []
    listened = any(pause.done for pause in [*done, *paused])
    for name, policy in policies().items():
        if isinstance(policy, BySound) and not listened:
            continue
        waits = [policy.wait_ms(pause) for pause in done]
        cut = 100 * mean(_cut_share(policy.wait_ms(pause)) for pause in paused)
        found += [
            row(name=f"{name}: wait p50", value=percentile(waits, 50), unit="ms"),
            row(name=f"{name}: wait p95", value=percentile(waits, 95), unit="ms"),
            row(name=f"{name}: wait mean", value=mean(waits), unit="ms"),
            row(name=f"{name}: pauses cut into", value=cut, unit="%"),
        ]
    endings = [ending(words) for words in prefixes()]
    for kind in ("complete", "open", "unfinished", "dictation"):
        share = 100 * endings.count(kind) / len(endings)
        found.append(row(name=f"beginnings of sentences taken for {kind}", value=share, unit="%"))
    return found


def prefixes() -> list[str]:
    """Every shipped sentence broken off behind each of its words but the last, each once.

    The openings stand in the lexicon itself; these do not, and "complete" is wrong for most of them.
    """
    clips = [*caller_set.load(), *caller_set.load(DUPLEX)]
    words = [clip.text.split() for clip in clips if clip.kind in BROKEN_OFF]
    return sorted({" ".join(text[:cut]) for text in words for cut in range(1, len(text))})


def _cut_share(wait_ms: float) -> float:
    """Of pauses spread evenly, how many last longer than that."""
    shortest, longest = PAUSES_MS
    lengths = range(shortest, longest + 1, STEP_MS)
    return sum(wait_ms < length for length in lengths) / len(lengths)
