"""Chatterbox's own classes with few layers and random weights, as a folder of files that it loads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'-"
MARKS = ("[START]", "[STOP]", "[UNK]", "[SPACE]")


@contextmanager
def shrunken() -> Iterator[None]:
    """While it lasts, Chatterbox's classes are made with two layers where there would be up to 30."""
    from chatterbox.models.s3gen import s3gen
    from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS

    names = ("UpsampleConformerEncoder", "ConditionalDecoder", "S3Tokenizer", "HiFTGenerator")
    kept = {name: getattr(s3gen, name) for name in names}
    layers = {"Llama_520M": "num_hidden_layers", "GPT2_medium": "n_layer"}
    sizes = {name: LLAMA_CONFIGS[name][key] for name, key in layers.items()}
    s3gen.UpsampleConformerEncoder = _less(kept[names[0]], num_blocks=1)
    s3gen.ConditionalDecoder = _less(kept[names[1]], num_mid_blocks=1, n_blocks=1)
    s3gen.S3Tokenizer = _small_tokenizer(kept[names[2]])
    s3gen.HiFTGenerator = _less(kept[names[3]], base_channels=64)
    for name, key in layers.items():
        LLAMA_CONFIGS[name][key] = 2
    try:
        yield
    finally:
        for name, kind in kept.items():
            setattr(s3gen, name, kind)
        for name, key in layers.items():
            LLAMA_CONFIGS[name][key] = sizes[name]


def _less(kind: Any, **fewer: int) -> Callable[..., Any]:
    return lambda **given: kind(**{**given, **fewer})


def _small_tokenizer(kind: Any) -> Callable[..., Any]:
    from chatterbox.models.s3tokenizer import s3tokenizer

    def make(name: str) -> Any:
        config = s3tokenizer.ModelConfig()
        config.n_audio_layer = 1
        return kind(name, config)

    return make


def build(folder: Path, seed: int = 1) -> Path:
    """Write the files of `ChatterboxTTS.from_local`: about 600 MB. Within `shrunken`."""
    import torch
    from chatterbox.models.s3gen import S3Gen
    from chatterbox.models.t3 import T3
    from chatterbox.models.voice_encoder import VoiceEncoder
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    parts = {"ve": VoiceEncoder(), "t3_cfg": T3(), "s3gen": S3Gen()}
    for name, part in parts.items():
        state = {key: value.contiguous().clone() for key, value in part.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")
    vocabulary = {mark: number for number, mark in enumerate((*MARKS, *LETTERS))}
    (folder / "tokenizer.json").write_text(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [_added(n, mark) for n, mark in enumerate(MARKS)],
                "model": {
                    "type": "BPE",
                    "vocab": vocabulary,
                    "merges": [],
                    "unk_token": "[UNK]",
                },
            }
        )
    )
    return folder


def _added(number: int, mark: str) -> dict[str, Any]:
    off = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": mark, "special": True, **off}


def voice_wav(path: Path, seconds: float = 1.0) -> Path:
    """Something with a pitch: a voice prompt. A short one: each step of the flow goes through it."""
    import numpy as np
    import soundfile

    at = np.arange(int(seconds * 24_000)) / 24_000
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * at)
    phase = np.cumsum(2 * np.pi * pitch / 24_000)
    sound = sum(np.sin(k * phase) / k for k in range(1, 12)) * (0.3 + 0.2 * np.sin(9 * at))
    soundfile.write(path, (0.3 * sound).astype(np.float32), 24_000)
    return path
