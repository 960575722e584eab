"""What was heard, by the rules and by ear: real speech, played, cut anywhere, its words counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from actors.agent_side import INTERRUPTED
from actors.heard import Voice
from actors.resampler import Resampler
from bus.recording import read
from engines.tts_espeak import EspeakVoice
from ops.facts import told
from ops.speaker import Speaker
from schemas import Respond, SpokenWords, TurnEnded, Word

TEXT = "Seven, eighteen, Washington, yes, telephone, two, extraordinary, no, paper, eleven."
"""Long and short words, a pause behind each: so that where they lie can be measured."""
LINE_RATE = 8000
FRAME = LINE_RATE // 50
WINDOW = LINE_RATE // 100
PAUSE = 6
"""Windows of 10 ms without sound that separate two words; inside "eighteen" there are up to 5."""
QUIET = 0.005


async def spoken() -> tuple[SpokenWords, bytes]:
    """The text by the embedded voice: where it says its words are, and its sound at the line's rate."""
    voice = EspeakVoice()
    await voice.load()
    chunks = [chunk async for chunk in voice.stream(TEXT)]
    await voice.close()
    words = tuple(Word(w.text, w.start, w.end) for chunk in chunks for w in chunk.words)
    to_line = Resampler(voice.rate, LINE_RATE)
    pcm = b"".join(to_line.push(chunk.pcm, False) for chunk in chunks) + to_line.push(b"", True)
    return SpokenWords(turn=1, sentence=0, text=TEXT, words=words, rate=voice.rate), pcm


def audible(sound: npt.NDArray[np.int16]) -> list[tuple[int, int]]:
    """Stretches of sound between pauses, in samples: the words, by ear."""
    whole = sound[: len(sound) // WINDOW * WINDOW].reshape(-1, WINDOW) / 32768
    loud = np.flatnonzero(np.sqrt((whole**2).mean(axis=1)) > QUIET)
    breaks = np.flatnonzero(np.diff(loud) > PAUSE)
    starts, ends = np.concatenate([[0], breaks + 1]), np.concatenate([breaks, [len(loud) - 1]])
    return [
        (int(loud[a]) * WINDOW, int(loud[b] + 1) * WINDOW)
        for a, b in zip(starts, ends, strict=True)
    ]


@pytest.mark.parametrize("late_ms", [0, 100], ids=["the cut reported", "a report behind"])
async def test_the_history_is_cut_within_a_word_of_what_was_heard(late_ms: int) -> None:
    """Cut every 20 ms. A word is heard, by ear, when half of its sound is in the recording."""
    words, pcm = await spoken()
    spans = audible(np.frombuffer(pcm, np.int16))
    assert len(spans) == len(words.words) == 10
    errors = []
    for cut in range(FRAME, len(pcm) // 2, FRAME):
        speaker = Speaker(LINE_RATE)
        for at in range(0, len(pcm), 2 * FRAME):
            speaker.play(1, pcm[at : at + 2 * FRAME], at // 2)
        played = speaker.cut(1, cut)
        assert not speaker.recording(len(pcm) // 2)[cut:].any()
        voice = Voice(sentences=[words])
        voice.played(max(0, played - late_ms * LINE_RATE // 1000), LINE_RATE)
        by_ear = sum((start + end) / 2 <= cut for start, end in spans)
        errors.append(len(voice.heard().split()) - by_ear)
    assert max(map(abs, errors)) <= 1
    wrong = sum(error != 0 for error in errors) / len(errors)
    assert wrong < (0.15 if not late_ms else 0.35), f"{wrong:.0%} of the cuts are a word off"


def test_the_model_is_told_what_was_heard_and_that_it_was_cut() -> None:
    """A real call: the order for the second answer holds the first, cut and marked."""
    _, records = read(Path(__file__).parent / "data" / "full_duplex.msgpack")
    cut = next(ended for _, ended in told(records, TurnEnded))
    order = told(records, Respond)[-1][1]
    assert cut.outcome == "interrupted"
    assert 3 < len(cut.heard.split()) < len(cut.answer.split()) / 2
    assert [message.role for message in order.messages] == ["system", "user", "assistant", "user"]
    assert order.messages[2].content == f"{cut.heard} {INTERRUPTED}"
    assert INTERRUPTED in order.messages[0].content, "the prompt says what the mark means"
