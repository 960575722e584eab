"""NeMo's own classes with random weights, as `.nemo` files: as large as nemotron and Parakeet, or small.

Their speed is the real one, if they tell as many words as trained ones do: the joint network's bias for
silence is set so.
"""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16_000
FRAME = 1280
"""Samples of an encoder frame, 80 ms."""
PIECES = 1024
SYLLABLES = ("ka", "to", "mi", "re", "sun", "lo", "ve", "di", "pa", "ne", "ru", "so", "fi", "gan")
DURATIONS = [0, 1, 2, 3, 4]
"""Of Parakeet: how many frames a token may skip."""
TOKENS_PER_FRAME = 0.4
"""About 5 tokens a second, as in English speech."""


def build(folder: Path, streams: bool, small: bool, device: str = "cpu", seed: int = 1) -> Path:
    """FOLDER/live.nemo, shaped like nemotron 0.6B, or FOLDER/whole.nemo, like Parakeet TDT 0.6B v2."""
    torch = importlib.import_module("torch")
    models = importlib.import_module("nemo.collections.asr.models")
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = _config(_vocabulary(folder, 48 if small else PIECES), streams, small)
    model = models.EncDecRNNTBPEModel(config).eval().to(device)
    _calm(torch, model)
    path = folder / ("live.nemo" if streams else "whole.nemo")
    model.cpu().save_to(str(path))
    return path


def _vocabulary(folder: Path, size: int) -> Path:
    """A sentencepiece model of made-up words."""
    words = ["".join(some) for some in itertools.product(SYLLABLES, SYLLABLES, SYLLABLES)]
    np.random.default_rng(1).shuffle(words)
    text = folder / "words.txt"
    text.write_text("\n".join(" ".join(words[n : n + 8]) for n in range(0, len(words), 8)) + "\n")
    importlib.import_module("sentencepiece").SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=size,
        model_type="bpe",
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    lines = (folder / "tokenizer.vocab").read_text().splitlines()
    (folder / "vocab.txt").write_text("\n".join(line.split("\t")[0] for line in lines) + "\n")
    return folder


def _config(tokenizer: Path, streams: bool, small: bool) -> Any:
    """Shapes after the model cards: 24 FastConformer layers of 1024, an LSTM of two layers of 640."""
    wide, narrow = (64, 64) if small else (1024, 640)
    live = {
        "att_context_size": [[70, 13], [70, 6], [70, 1], [70, 0]],
        "att_context_style": "chunked_limited",
        "causal_downsampling": True,
        "conv_context_size": "causal",
        "conv_norm_type": "layer_norm",
    }
    dropout = dict.fromkeys(("dropout", "dropout_pre_encoder", "dropout_emb", "dropout_att"), 0.0)
    made: dict[str, Any] = {
        "sample_rate": RATE,
        "compute_eval_loss": False,
        "log_prediction": False,
        "train_ds": None,
        "validation_ds": None,
        "model_defaults": {"enc_hidden": wide, "pred_hidden": narrow, "joint_hidden": narrow},
        "tokenizer": {"dir": str(tokenizer), "type": "bpe"},
        "preprocessor": {
            "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
            "sample_rate": RATE,
            "normalize": "NA" if streams else "per_feature",
            "window_size": 0.025,
            "window_stride": 0.01,
            "window": "hann",
            "features": 128,
            "n_fft": 512,
            "frame_splicing": 1,
            "dither": 1e-5,
            "pad_to": 0,
        },
        "encoder": {
            "_target_": "nemo.collections.asr.modules.ConformerEncoder",
            "feat_in": 128,
            "feat_out": -1,
            "n_layers": 2 if small else 24,
            "d_model": wide,
            "subsampling": "dw_striding",
            "subsampling_factor": 8,
            "subsampling_conv_channels": 32 if small else 256,
            "ff_expansion_factor": 4,
            "self_attention_model": "rel_pos",
            "n_heads": 4 if small else 8,
            "xscaling": False,
            "conv_kernel_size": 9,
            **dropout,
            **(live if streams else {}),
        },
        "decoder": {
            "_target_": "nemo.collections.asr.modules.RNNTDecoder",
            "normalization_mode": None,
            "random_state_sampling": False,
            "blank_as_pad": True,
            "prednet": {
                "pred_hidden": narrow,
                "pred_rnn_layers": 1 if small else 2,
                "dropout": 0.0,
            },
        },
        "joint": {
            "_target_": "nemo.collections.asr.modules.RNNTJoint",
            "log_softmax": None,
            "preserve_memory": False,
            "fuse_loss_wer": False,
            "jointnet": {
                "encoder_hidden": wide,
                "pred_hidden": narrow,
                "joint_hidden": narrow,
                "activation": "relu",
                "dropout": 0.0,
            },
        },
        "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 10}},
        "loss": {"loss_name": "pytorch"},
    }
    if not streams:
        made["joint"]["num_extra_outputs"] = len(DURATIONS)
        made["model_defaults"]["tdt_durations"] = DURATIONS
        made["decoding"] |= {"model_type": "tdt", "durations": DURATIONS}
    return importlib.import_module("omegaconf").OmegaConf.create(made)


def _calm(torch: Any, model: Any) -> None:
    """Let the end of a frame be as likely as in speech: by halves, until it tells TOKENS_PER_FRAME."""
    bias = model.joint.joint_net[-1].bias
    blank = model.joint.num_classes_with_blank - 1 - model.joint.num_extra_outputs
    sound = 0.1 * torch.randn(1, 5 * RATE)
    device = bias.device
    low, high = -5.0, 15.0
    with torch.inference_mode():
        mel, length = model.preprocessor(
            input_signal=sound.to(device), length=torch.tensor([sound.shape[1]], device=device)
        )
        heard, frames = model.encoder(audio_signal=mel, length=length)
    for _ in range(10):
        middle = (low + high) / 2
        with torch.no_grad():
            bias[blank] = middle
        with torch.inference_mode():
            said = model.decoding.rnnt_decoder_predictions_tensor(
                heard, frames, return_hypotheses=True
            )
        many = len(said[0].y_sequence) > TOKENS_PER_FRAME * int(frames[0])
        low, high = (middle, high) if many else (low, middle)
