"""NeMo's own classes with two narrow layers and random weights, as `.nemo` files.

Random weights say nothing of use, but what they say depends on the sound, and on each sample's place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soak.nemo_config import config, write_tokenizer

WORDS = (
    "stop wait yes no what is the time please tell me more about seven and five minutes in an hour"
)
RATE = 16_000
CONTEXTS = ((70, 13), (70, 6), (70, 1), (70, 0))


def build(folder: Path, name: str, seed: int = 1, streams: bool = True, rate: int = RATE) -> Path:
    """Write FOLDER/NAME.nemo; `streams`: cache-aware, with four look-aheads."""
    import torch
    from nemo.collections.asr.models import EncDecRNNTBPEModel

    tokenizer = folder / "tokenizer"
    if not tokenizer.is_dir():
        words = WORDS.split()
        write_tokenizer(tokenizer, [" ".join(words[n:] + words[:n]) for n in range(19)], 48)
    torch.manual_seed(seed)
    contexts = CONTEXTS if streams else ()
    model = EncDecRNNTBPEModel(
        config(tokenizer, width=64, layers=2, contexts=contexts, rate=rate)
    ).eval()
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
