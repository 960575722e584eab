"""Sound goes in, English words come out: Moonshine tiny on onnxruntime, which learnt from people.

27 million weights, 8 bits each (Moonshine AI, MIT; Jeffries et al. 2024, arXiv 2410.15608: an encoder
on the wave itself, and a decoder that writes the text from it, a token at a time). The files lie in
the wheel of moonshine-voice, which `make engine-moonshine` installs without its dependencies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.onnx_session import in_wheel, open_model
from engines.protocols import EngineError

RATE = 16_000
HOW = "make engine-moonshine"
FOLDER = "assets/tiny-en"
FILES = "encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin"
BEGIN, END = 1, 2
"""Tokens."""
SHORTEST = RATE // 10
"""Samples; of less the encoder makes nothing."""
A_SECOND, MORE = 6.5, 4
"""Tokens that a second of speech has at most (the model's authors say 6.5), and those of any utterance:
without a bound it goes round in circles in some noises."""
WORD_START = "\u2581"


@dataclass(frozen=True)
class Written:
    """A text and how sure of it the model is: mean log probability (nats) of its tokens, 0 at most."""

    text: str
    sure: float


NOTHING = Written("", 0.0)


class Moonshine:
    """`write(pcm)`: mono int16 at 16 kHz, up to 20 s."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: of the three files; None takes those inside the installed wheel.

        Raises EngineError when onnxruntime or a file is missing.
        """
        where = [folder / name for name in FILES] if folder else shipped()
        self._encoder = open_model(where[0], "Moonshine encoder")
        self._decoder = open_model(where[1], "Moonshine decoder")
        self._tokens = list(_entries(where[2].read_bytes()))
        given = {each.name: each.shape for each in self._decoder.get_inputs()}
        self._past = {name: shape for name, shape in given.items() if name.startswith("past")}
        self._made = [each.name for each in self._decoder.get_outputs()]

    def __call__(self, pcm: bytes) -> Written:
        """What is said in it; greedy: the likeliest token each time."""
        wave = np.frombuffer(pcm[: len(pcm) & ~1], np.int16)[None].astype(np.float32) / 32768
        if wave.shape[1] < SHORTEST:
            return NOTHING
        heard = np.ones(wave.shape, np.int64)
        seen = self._encoder.run(None, {"input_values": wave, "attention_mask": heard})[0]
        told = {"encoder_hidden_states": seen, "encoder_attention_mask": heard}
        told |= {name: _empty(shape, seen.shape[1], name) for name, shape in self._past.items()}
        tokens, nats = [BEGIN], 0.0
        for _ in range(MORE + int(wave.shape[1] / RATE * A_SECOND)):
            told["input_ids"] = np.array([tokens[-1:]], np.int64)
            told["use_cache_branch"] = np.array([len(tokens) > 1])
            scores, *kept = self._decoder.run(None, told)
            for name, value in zip(self._made[1:], kept, strict=True):
                if len(tokens) == 1 or ".encoder." not in name:  # what it made of the sound stays
                    told[name.replace("present", "past_key_values")] = value
            best, chance = _likeliest(scores[0, -1])
            nats += chance
            if best == END:
                break
            tokens.append(best)
        return Written(self._text(tokens[1:]), nats / len(tokens))

    def _text(self, tokens: list[int]) -> str:
        spelt = b"".join(self._tokens[token] for token in tokens)
        return spelt.decode("utf-8", "replace").replace(WORD_START, " ").strip()


def shipped() -> list[Path]:
    """The three files inside the installed wheel. Raises EngineError when one is not there."""
    return [in_wheel("moonshine_voice", f"{FOLDER}/{name}", HOW) for name in FILES]


def _empty(shape: list[Any], frames: int, name: str) -> Any:
    """A cache before the first token: nothing of the text; of the sound as much as there is."""
    return np.zeros((1, shape[1], frames if ".encoder." in name else 0, shape[3]), np.float32)


def _likeliest(scores: Any) -> tuple[int, float]:
    best = int(np.argmax(scores))
    return best, -float(np.log(np.sum(np.exp(scores - scores[best]))))


def _entries(file: bytes) -> Iterator[bytes]:
    """The pieces of words of moonshine-voice's `tokenizer.bin`: each a length, then so many bytes.

    A length of 128 and more has two bytes: the low seven bits plus 128, then the rest.
    Raises EngineError when it ends amid a piece.
    """
    at = 0
    while at < len(file):
        size, at = file[at], at + 1
        if size >= 128 and at < len(file):
            size, at = size - 128 + 128 * file[at], at + 1
        if at + size > len(file):
            raise EngineError(f"the list of tokens is cut short: {HOW}")
        yield file[at : at + size]
        at += size
