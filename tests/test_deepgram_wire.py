"""Deepgram's addresses and messages, and which words belong to which utterance. No I/O."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.deepgram_wire import (
    Alternative,
    Heard,
    Ledger,
    Results,
    Said,
    batch_url,
    decode,
    live_url,
)
from engines.protocols import EngineError, Hypothesis
from tests.fakes.deepgram import RATE


def test_addresses() -> None:
    live = live_url("wss://host/v1/listen", "nova-3", "en", diarize=False)
    assert live.startswith("wss://host/v1/listen?model=nova-3&language=en&encoding=linear16")
    assert "diarize" not in live
    assert batch_url("wss://host/v1/listen", "m", "de", diarize=True) == (
        "https://host/v1/listen?model=m&language=de&diarize=true"
    )
    assert live_url("ws://host/x?tag=1", "m", "en", diarize=False).startswith(
        "ws://host/x?tag=1&model"
    )


def test_messages_without_words_are_passed_over() -> None:
    assert decode('{"type": "Metadata", "request_id": "x"}') is None
    assert decode('{"type": "SpeechStarted", "channel": [0], "timestamp": 1.0}') is None
    bare = '{"type":"Results","start":1,"duration":0.5,"channel":{"alternatives":[{"transcript":"hi"}]}}'
    results = decode(bare)
    assert results is not None
    assert results.words == (Said("hi", 1.0, 1.5),)
    for wrong in ("", "[]", '{"type": "Results"}', b"\xff"):
        with pytest.raises(EngineError):
            decode(wrong)


@given(st.data())
def test_every_word_is_told_once_whatever_the_cut_of_the_results(data: st.DataObject) -> None:
    """Utterances of words, results that end anywhere: final pieces in order, interim ones between."""
    lengths = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5), label="words of each")
    ledger, texts = Ledger(), []
    words: list[Said] = []
    finals: list[Hypothesis] = []
    final_to = 0
    for number, count in enumerate(lengths):
        ledger.begin(number, number * 100_000)
        for _ in range(count):
            start = ledger.sent / RATE
            ledger.fed(3200)
            words.append(Said(f"w{len(words)}", start + 0.02, start + 0.18))
            if data.draw(st.booleans(), label="results now"):
                final = data.draw(st.booleans(), label="final")
                finals += _given(ledger, words, final_to, ledger.sent, final=final)
                final_to = ledger.sent if final else final_to
        texts.append(" ".join(word.word for word in words[len(words) - count :]))
        finals += ledger.finish()
    finals += _given(ledger, words, final_to, ledger.sent, final=True)
    finals += [guess for number in range(len(lengths)) for guess in ledger.give_up(number)]
    assert [guess.utterance for guess in finals] == list(range(len(lengths)))
    assert [guess.text for guess in finals] == texts
    assert ledger.late_words == 0
    assert ledger.worked_on == ledger.sent
    for number, guess in enumerate(finals):
        assert guess.start == number * 100_000
        assert all(guess.start <= word.start < word.end <= guess.end for word in guess.words)


def _given(
    ledger: Ledger, words: list[Said], start: int, end: int, *, final: bool
) -> list[Hypothesis]:
    """Results for samples [start, end); the finals they bring."""
    heard = tuple(word for word in words if start <= word.start * RATE < end)
    channel = Heard((Alternative(" ".join(word.word for word in heard), heard),))
    results = Results(start / RATE, (end - start) / RATE, channel, is_final=final)
    return [guess for guess in ledger.take(results) if guess.final]
