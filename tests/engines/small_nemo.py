"""NeMo's own classes with two narrow layers and random weights, as `.nemo` files.

Random weights say nothing of use, but what they say depends on the sound, and on each sample's place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = (
    "stop wait yes no what is the time please tell me more about seven and five minutes in an hour"
)
RATE = 16_000
WIDTH = 64


def vocabulary(folder: Path, size: int = 48) -> Path:
    """A sentencepiece model of a few words, as NeMo wants it: a folder."""
    import sentencepiece

    text = folder / "text.txt"
    text.write_text(
        "\n".join(" ".join(WORDS.split()[n:] + WORDS.split()[:n]) for n in range(19)) + "\n"
    )
    sentencepiece.SentencePieceTrainer.train(
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


def config(tokenizer: Path, streams: bool = True, rate: int = RATE) -> Any:
    """Of a transducer with a FastConformer in front; `streams`: cache-aware, with four look-aheads."""
    from omegaconf import OmegaConf

    live = {
        "att_context_size": [[70, 13], [70, 6], [70, 1], [70, 0]],
        "att_context_style": "chunked_limited",
        "causal_downsampling": True,
        "conv_context_size": "causal",
        "conv_norm_type": "layer_norm",
    }
    return OmegaConf.create(
        {
            "sample_rate": rate,
            "compute_eval_loss": False,
            "log_prediction": False,
            "train_ds": None,
            "validation_ds": None,
            "model_defaults": {"enc_hidden": WIDTH, "pred_hidden": WIDTH, "joint_hidden": WIDTH},
            "tokenizer": {"dir": str(tokenizer), "type": "bpe"},
            "preprocessor": {
                "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
                "sample_rate": rate,
                "normalize": "NA" if streams else "per_feature",
                "window_size": 0.025,
                "window_stride": 0.01,
                "window": "hann",
                "features": 80,
                "n_fft": 512,
                "frame_splicing": 1,
                "dither": 1e-5,
                "pad_to": 0,
            },
            "encoder": {
                "_target_": "nemo.collections.asr.modules.ConformerEncoder",
                "feat_in": 80,
                "feat_out": -1,
                "n_layers": 2,
                "d_model": WIDTH,
                "subsampling": "dw_striding",
                "subsampling_factor": 8,
                "subsampling_conv_channels": 32,
                "ff_expansion_factor": 2,
                "self_attention_model": "rel_pos",
                "n_heads": 4,
                "xscaling": False,
                "conv_kernel_size": 9,
                "dropout": 0.0,
                "dropout_pre_encoder": 0.0,
                "dropout_emb": 0.0,
                "dropout_att": 0.0,
                **(live if streams else {}),
            },
            "decoder": {
                "_target_": "nemo.collections.asr.modules.RNNTDecoder",
                "normalization_mode": None,
                "random_state_sampling": False,
                "blank_as_pad": True,
                "prednet": {"pred_hidden": WIDTH, "pred_rnn_layers": 1, "dropout": 0.0},
            },
            "joint": {
                "_target_": "nemo.collections.asr.modules.RNNTJoint",
                "log_softmax": None,
                "preserve_memory": False,
                "fuse_loss_wer": False,
                "jointnet": {
                    "encoder_hidden": WIDTH,
                    "pred_hidden": WIDTH,
                    "joint_hidden": WIDTH,
                    "activation": "relu",
                    "dropout": 0.0,
                },
            },
            "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 3}},
            "loss": {"loss_name": "pytorch"},
        }
    )


def build(folder: Path, name: str, seed: int = 1, **given: Any) -> Path:
    """Write FOLDER/NAME.nemo; `given`: see `config`."""
    import torch
    from nemo.collections.asr.models import EncDecRNNTBPEModel

    tokenizer = folder / "tokenizer"
    if not tokenizer.is_dir():
        tokenizer.mkdir()
        vocabulary(tokenizer)
    torch.manual_seed(seed)
    model = EncDecRNNTBPEModel(config(tokenizer, **given)).eval()
    talkative(model)
    path = folder / f"{name}.nemo"
    model.save_to(str(path))
    return path


def talkative(model: Any) -> None:
    """At first the joint network says one thing whatever is heard: let it hear more, be silent less."""
    import torch

    with torch.no_grad():
        model.joint.enc.weight.mul_(8)
        sound = torch.randn(1, 4 * RATE) * (
            0.02 + 0.2 * torch.rand(1, 4 * RATE // 4000).repeat_interleave(4000, 1)
        )
        mel, length = model.preprocessor(input_signal=sound, length=torch.tensor([4 * RATE]))
        heard, _ = model.encoder(audio_signal=mel, length=length)
        joint = model.joint
        hidden = torch.relu(joint.enc(heard.transpose(1, 2)))[0]
        last = joint.joint_net[-1]
        last.weight.div_((hidden @ last.weight.T).std(0)[:, None])
        logits = hidden @ last.weight.T
        last.bias.copy_(-logits.mean(0))  # each token is the likeliest now and then
        logits = logits + last.bias
        best = logits[:, :-1].max(1).values - logits[:, -1]
        last.bias[-1] += best.quantile(0.6)
