"""Chatterbox's own classes with random weights, as a folder of files that it loads: whole, or very small.

Random weights say nothing, but they say it through all of the real code; whole ones at its real speed. They
end by themselves after a known number of tokens: trained ones do, and random ones would not.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'-"
MARKS = ("[START]", "[STOP]", "[UNK]", "[SPACE]")
PROMPT = 20
"""Tokens of the voice that a folder brings along: a short one, every step of the flow goes through it."""
SMALL_T3 = {
    "Llama_520M": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,
    },
    "GPT2_medium": {"hidden_size": 64, "n_embd": 64, "n_layer": 2, "n_head": 2},
}
SMALL_PARTS: dict[str, dict[str, Any]] = {
    "UpsampleConformerEncoder": {"num_blocks": 1, "linear_units": 64, "attention_heads": 2},
    "ConditionalDecoder": {
        "channels": [64],
        "num_mid_blocks": 1,
        "n_blocks": 1,
        "num_heads": 1,
        "attention_head_dim": 32,
    },
    "HiFTGenerator": {"base_channels": 64},
}
SMALL_CHUNKS: dict[str, Any] = {
    "first_tokens": 4,
    "chunk_tokens": 8,
    "context_tokens": 2,
    "flow_steps": 3,
}
"""Settings that go with them: sound in several chunks, quickly."""
TURBO_TOKENS = 50_276
"""Of its text; more than it has uses for."""


def part(name: str) -> Any:
    """A module of the package: it lives in an environment of its own."""
    return importlib.import_module(name)


@contextmanager
def shrunken() -> Iterator[None]:
    """While it lasts, Chatterbox's classes are made narrow, with two layers instead of up to 30."""
    s3gen, tokenizer = part("chatterbox.models.s3gen.s3gen"), part("s3tokenizer.model_v2")
    conditions = part("chatterbox.models.t3.modules.cond_enc")
    configs = part("chatterbox.models.t3.llama_configs").LLAMA_CONFIGS
    kept = {name: getattr(s3gen, name) for name in SMALL_PARTS}
    perceiver, whole = conditions.Perceiver, {name: dict(configs[name]) for name in SMALL_T3}
    making = tokenizer.S3TokenizerV2.__init__
    sizes = making.__defaults__
    for name, fewer in SMALL_PARTS.items():
        setattr(s3gen, name, _less(kept[name], **fewer))
    making.__defaults__ = (
        tokenizer.ModelConfig(n_audio_state=128, n_audio_head=2, n_audio_layer=1),
    )
    conditions.Perceiver = lambda: perceiver(32, 64, 64, 2)
    for name, fewer in SMALL_T3.items():
        configs[name].update(fewer)
    try:
        yield
    finally:
        for name, kind in kept.items():
            setattr(s3gen, name, kind)
        conditions.Perceiver, making.__defaults__ = perceiver, sizes
        for name, config in whole.items():
            configs[name].update(config)


def _less(kind: Any, **fewer: Any) -> Callable[..., Any]:
    def make(**given: Any) -> Any:
        made = kind(**{**given, **fewer})
        for layers in (getattr(made, "up_encoders", None), getattr(made, "mid_blocks", None)):
            if layers is not None:
                del layers[1:]
        return made

    return make


def build(folder: Path, turbo: bool = False, tokens: int = 40, seed: int = 1) -> Path:
    """Write the files of `ChatterboxTTS.from_local`, or of Turbo's; small ones within `shrunken`.

    `tokens`: of 40 ms, after which the base model ends; Turbo ends after as many on average.
    """
    torch = part("torch")
    torch.manual_seed(seed)
    t3 = part("chatterbox.models.t3").T3(_turbo_hp() if turbo else None)
    _attentive(t3.tfmr)
    (_may_end if turbo else _ends)(t3, tokens)
    parts = {
        "ve": part("chatterbox.models.voice_encoder").VoiceEncoder(),
        "t3_turbo_v1" if turbo else "t3_cfg": t3,
        "s3gen_meanflow" if turbo else "s3gen": part("chatterbox.models.s3gen").S3Gen(turbo),
    }
    for name, one in parts.items():
        state = {key: value.contiguous().clone() for key, value in one.state_dict().items()}
        part("safetensors.torch").save_file(state, folder / f"{name}.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()))
    if turbo:
        (folder / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "[STOP]"})
        )
    _voice(torch, folder / "conds.pt")
    return folder


def _turbo_hp() -> Any:
    """As ChatterboxTurboTTS.from_local has it."""
    hp = part("chatterbox.models.t3.modules.t3_config").T3Config(TURBO_TOKENS)
    hp.llama_config_name = "GPT2_medium"
    hp.speech_tokens_dict_size = 6563
    hp.input_pos_emb = None
    hp.speech_cond_prompt_len = 375
    hp.use_perceiver_resampler = False
    hp.emotion_adv = False
    return hp


def _attentive(network: Any) -> None:
    """As wide as usual, whatever the width: fresh layers of a narrow one change next to nothing."""
    torch = part("torch")
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim == 2 and "wte" not in name and "wpe" not in name:
                torch.nn.init.normal_(weight, std=max(0.02, 1 / min(weight.shape) ** 0.5))


def _ends(t3: Any, tokens: int) -> None:
    """The end mark answers to a direction that the places from there on have, and nothing else."""
    torch = part("torch")
    with torch.no_grad():
        direction = torch.randn(t3.dim)
        t3.speech_head.weight[t3.hp.stop_speech_token] = direction / 2
        t3.speech_pos_emb.emb.weight[:tokens] -= direction
        t3.speech_pos_emb.emb.weight[tokens:] += 3 * direction


def _may_end(t3: Any, tokens: int) -> None:
    """Turbo's head has a bias: at each token it ends with a probability of 1 in `tokens`, about.

    It chooses among the 1000 likeliest, which weigh as much as 3000; all that at a temperature of 0.8.
    """
    torch = part("torch")
    with torch.no_grad():
        t3.speech_head.bias[t3.hp.stop_speech_token] = 0.8 * float(np.log(3000 / tokens))


def _tokenizer() -> dict[str, Any]:
    vocabulary = {mark: number for number, mark in enumerate((*MARKS, *LETTERS))}
    return {
        "version": "1.0",
        "added_tokens": [_added(n, mark) for n, mark in enumerate(MARKS)],
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "[UNK]"},
    }


def _added(number: int, mark: str) -> dict[str, Any]:
    off = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": mark, "special": True, **off}


def _voice(torch: Any, path: Path) -> None:
    """The voice that a folder brings along: numbers of the shapes of one."""
    tokens = torch.randint(0, 6561, (1, PROMPT))
    torch.save(
        {
            "t3": {
                "speaker_emb": torch.randn(1, 256).abs(),
                "cond_prompt_speech_tokens": tokens,
                "emotion_adv": 0.5 * torch.ones(1, 1, 1),
            },
            "gen": {
                "prompt_token": tokens,
                "prompt_token_len": torch.tensor([PROMPT]),
                "prompt_feat": torch.randn(1, 2 * PROMPT, 80),
                "prompt_feat_len": None,
                "embedding": torch.randn(1, 192),
            },
        },
        path,
    )


def voice_wav(path: Path, seconds: float = 1.0) -> Path:
    """Something with a pitch: a voice prompt."""
    at = np.arange(int(seconds * 24_000)) / 24_000
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * at)
    phase = np.cumsum(2 * np.pi * pitch / 24_000)
    sound = sum(np.sin(k * phase) / k for k in range(1, 12)) * (0.3 + 0.2 * np.sin(9 * at))
    part("soundfile").write(path, (0.3 * sound).astype(np.float32), 24_000)
    return path
