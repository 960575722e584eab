"""How a small recogniser of NeMo is built: its size goes in, what NeMo makes a transducer of comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

RATE = 16_000


def write_tokenizer(folder: Path, sentences: list[str], size: int) -> Path:
    """A sentencepiece model (BPE) of `size` pieces, as NeMo wants it: a folder."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "text.txt"
    text.write_text("\n".join(sentences) + "\n")
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


def config(
    tokenizer: Path,
    *,
    width: int,
    layers: int,
    contexts: tuple[tuple[int, int], ...] = (),
    widening: int = 2,
    channels: int = 32,
    rate: int = RATE,
) -> Any:
    """Of a transducer with a FastConformer in front, for `EncDecRNNTBPEModel`.

    `contexts`: encoder frames (80 ms) that a frame may look back and ahead; with any it is cache-aware, so
    that it can stream. `widening`: of the feed-forward layers. `channels`: of the subsampling.
    """
    from omegaconf import OmegaConf

    live = {
        "att_context_size": [list(one) for one in contexts],
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
            "model_defaults": {"enc_hidden": width, "pred_hidden": width, "joint_hidden": width},
            "tokenizer": {"dir": str(tokenizer), "type": "bpe"},
            "preprocessor": {
                "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
                "sample_rate": rate,
                "normalize": "NA" if contexts else "per_feature",
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
                "n_layers": layers,
                "d_model": width,
                "subsampling": "dw_striding",
                "subsampling_factor": 8,
                "subsampling_conv_channels": channels,
                "ff_expansion_factor": widening,
                "self_attention_model": "rel_pos",
                "n_heads": 4,
                "xscaling": False,
                "conv_kernel_size": 9,
                "dropout": 0.0,
                "dropout_pre_encoder": 0.0,
                "dropout_emb": 0.0,
                "dropout_att": 0.0,
                **(live if contexts else {}),
            },
            "decoder": {
                "_target_": "nemo.collections.asr.modules.RNNTDecoder",
                "normalization_mode": None,
                "random_state_sampling": False,
                "blank_as_pad": True,
                "prednet": {"pred_hidden": width, "pred_rnn_layers": 1, "dropout": 0.0},
            },
            "joint": {
                "_target_": "nemo.collections.asr.modules.RNNTJoint",
                "log_softmax": None,
                "preserve_memory": False,
                "fuse_loss_wer": False,
                "jointnet": {
                    "encoder_hidden": width,
                    "pred_hidden": width,
                    "joint_hidden": width,
                    "activation": "relu",
                    "dropout": 0.0,
                },
            },
            "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 3}},
            "loss": {"loss_name": "pytorch"},
        }
    )
