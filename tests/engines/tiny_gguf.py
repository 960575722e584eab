"""A seed goes in, a GGUF file of a small random language model comes out: it writes words without sense."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WORDS = (
    "the a of and to in is it was that he she they we on at by for with from not but all one two "
    "three red green blue sea ship hill road rain wind old new long short day night home door bird"
)
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
HEADS = 4


def tokens() -> tuple[list[str], list[int]]:
    """Pieces of a sentencepiece vocabulary, and their kinds: every byte, some words, full stops."""
    special = ["<unk>", "<s>", "</s>"]
    letters = [f"<0x{byte:02X}>" for byte in range(256)]
    words = ["."] + [f"▁{word}" for word in WORDS.split()]
    kinds = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(words)
    return special + letters + words, kinds


def write(path: Path, width: int = 64, layers: int = 2, seed: int = 0) -> Path:
    """0.4 s and 0.7 MB at this width; the weights are float32."""
    random = np.random.default_rng(seed)
    pieces, kinds = tokens()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random")
    writer.add_context_length(32_768)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // HEADS)
    writer.add_vocab_size(len(pieces))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([-float(number) for number in range(len(pieces))])
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)

    def matrix(*shape: int) -> np.ndarray:
        return random.normal(0.0, shape[-1] ** -0.5, shape).astype(np.float32)

    says = matrix(len(pieces), width)
    says[: 3 + 256] = 0.0  # it writes words, and does not end by itself
    writer.add_tensor("token_embd.weight", matrix(len(pieces), width))
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    writer.add_tensor("output.weight", 4 * says)
    for layer in range(layers):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(width, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", matrix(width, width))
        for name in ("ffn_gate", "ffn_up"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", matrix(2 * width, width))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", matrix(width, 2 * width))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
