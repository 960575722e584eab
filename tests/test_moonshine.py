"""Moonshine without its model: how an utterance is taken, cut and told; with it: tests/engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import build
from bus.settings import load
from engines import onnx_session
from engines.moonshine_child import LATER, PIECE, Listener, cut_at, plain, spread
from engines.moonshine_model import Moonshine, Written, _entries
from engines.protocols import EngineError, Hypothesis

RATE = 16_000


class Writer:
    """Writes how many samples it was given, and keeps what those were."""

    def __init__(self, text: str = "", sure: float = -0.1) -> None:
        self.given: list[bytes] = []
        self._text, self._sure = text, sure

    def __call__(self, pcm: bytes) -> Written:
        self.given.append(pcm)
        return Written(self._text or f"Heard {len(pcm) // 2}.", self._sure)


def _sound(seconds: float, seed: int = 1) -> bytes:
    made = np.random.default_rng(seed).standard_normal(int(seconds * RATE)) * 3000
    return made.astype(np.int16).tobytes()


def _told(listener: Listener, pcm: bytes, size: int = 640) -> list[Hypothesis]:
    return [
        guess for at in range(0, len(pcm), size) for guess in listener.feed(pcm[at : at + size])
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What time is it?", "what time is it"),
        ("That's 3.5, I think…", "that's 3.5 i think"),
        ("“Wait!” - no", "wait no"),
        ("Mm-hmm.", "mm-hmm"),
        ("...", ""),
    ],
)
def test_words_are_written_as_other_recognisers_do(text: str, words: str) -> None:
    assert plain(text) == words


def test_partials_come_every_300_ms_at_first_then_for_15_percent_more() -> None:
    listener = Listener(Writer(), 1600)
    listener.begin(1, 8000)
    ends = [(guess.end - 8000) / RATE for guess in _told(listener, _sound(8))]
    assert ends[:4] == [0.3, 0.6, 0.9, 1.2]
    assert ends[-1] - ends[-2] == pytest.approx(0.15 * ends[-2], abs=0.02)
    assert len(ends) < 20


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=40), st.booleans())
def test_packets_of_any_length_are_the_same_words(sizes: list[int], settles: bool) -> None:
    sound = _sound(2)
    said = []
    for packets in ([len(sound)], sizes):
        listener = Listener(Writer(), 1600)
        listener.begin(1, 0)
        at = 0
        guesses: list[Hypothesis | None] = []
        while at < len(sound):
            size = packets[len(guesses) % len(packets)]
            guesses += [*listener.feed(sound[at : at + size]), None]
            at += size
        if settles:
            list(listener.settle())
        told = [guess for guess in guesses if guess]
        said.append([*told, listener.finish()])
    assert said[0] == said[1]
    assert said[0][-1].text == f"heard {len(sound) // 2}"


def test_what_has_settled_is_the_final_and_is_not_written_twice() -> None:
    writer = Writer()
    listener = Listener(writer, 10 * RATE)
    listener.begin(3, 0)
    _told(listener, _sound(1))
    (settled,) = listener.settle()
    assert settled.settled
    assert not settled.final
    assert not _told(listener, bytes(6400))
    assert not list(listener.settle())
    final = listener.finish()
    assert (final.final, final.text, final.end) == (True, settled.text, RATE + 3200)
    assert len(writer.given) == 1


def test_one_who_goes_on_is_written_anew_with_what_came_in_the_pause() -> None:
    listener = Listener(Writer(), 10 * RATE)
    listener.begin(3, 0)
    _told(listener, _sound(1))
    list(listener.settle())
    _told(listener, bytes(6400))
    assert not list(listener.resume())
    assert listener.finish().text == f"heard {RATE + 3200}"


def test_the_next_utterance_knows_nothing_of_the_last() -> None:
    listener = Listener(Writer(), 10 * RATE)
    listener.begin(1, 0)
    _told(listener, _sound(1))
    list(listener.settle())
    listener.finish()
    listener.begin(2, 50_000)
    _told(listener, _sound(0.5))
    final = listener.finish()
    assert (final.utterance, final.start, final.end) == (2, 50_000, 58_000)
    assert final.text == "heard 8000"


@pytest.mark.parametrize(("text", "sure"), [("You", -0.1), ("you.", -0.1), ("Thank you.", -1.2)])
def test_what_it_writes_of_noise_is_nothing(text: str, sure: float) -> None:
    listener = Listener(Writer(text, sure), 1600)
    listener.begin(1, 0)
    assert not _told(listener, _sound(1))
    assert listener.finish().text == ""


def test_a_long_utterance_is_cut_and_each_sample_is_written_once() -> None:
    writer = Writer()
    listener = Listener(writer, 3600 * RATE)
    listener.begin(1, 1000)
    sound = _sound(31)
    _told(listener, sound)
    final = listener.finish()
    assert b"".join(writer.given) == sound
    assert all(len(piece) <= 2 * PIECE for piece in writer.given)
    assert [word.text for word in final.words[::2]] == ["heard"] * len(writer.given)
    edges = [edge for word in final.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert (edges[0] >= 1000, edges[-1] <= final.end) == (True, True)


@given(st.integers(LATER + RATE // 5, PIECE - RATE // 5))
def test_it_is_cut_amid_the_longest_quiet(quiet: int) -> None:
    sound = np.frombuffer(_sound(12), np.int16).copy()
    sound[quiet - 2000 : quiet + 2000] = 0
    assert abs(cut_at(sound.tobytes()) - quiet) <= 640


@given(
    st.lists(st.text("abcdefg'", min_size=1, max_size=12), max_size=8),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_words_lie_in_the_sound_one_behind_another(
    words: list[str], before: float, after: float
) -> None:
    pcm = bytes(2 * int(before * RATE)) + _sound(0.5) + bytes(2 * int(after * RATE))
    told = spread(" ".join(words), pcm, 100)
    assert [word.text for word in told] == words
    edges = [edge for word in told for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    if told:
        assert edges[0] == pytest.approx(100 + before * RATE, abs=320)
        assert edges[-1] == pytest.approx(100 + (before + 0.5) * RATE, abs=320)


def test_pieces_of_words_of_any_length_are_read() -> None:
    long = bytes(300)
    file = b"\x05<unk>" + bytes([128 + 300 % 128, 300 // 128]) + long + b"\x01a"
    assert list(_entries(file)) == [b"<unk>", long, b"a"]


@pytest.mark.parametrize("file", [b"\x05<un", b"\xff", b"\x81\x02a"])
def test_a_list_that_is_cut_short_is_told(file: bytes) -> None:
    with pytest.raises(EngineError, match="cut short: make engine-moonshine"):
        list(_entries(file))


def test_a_folder_without_the_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no Moonshine encoder at .*encoder_model\.ort"):
        Moonshine(tmp_path)


async def test_who_asks_for_it_without_the_wheel_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(onnx_session, "find_spec", lambda name: None)
    file = tmp_path / "fleet.toml"
    file.write_text('[stt]\nengine = "moonshine"\nbatch_engine = "moonshine"\n')
    settings = load(file)
    engine = build.recogniser(settings.stt.engine, settings)
    with pytest.raises(EngineError, match="make engine-moonshine"):
        await engine.load()
    batch = build.batch_recogniser(settings.stt.batch_engine, settings)
    assert batch is not None
    with pytest.raises(EngineError, match="make engine-moonshine"):
        await batch.load()
