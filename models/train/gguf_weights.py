"""Reads the weights of a GGUF that `export.py` wrote, so that a training can start from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray

# ModelConfig's fields and their keys in the header of the architecture `llama`.
HEADER = {
    "vocab": "llama.vocab_size",
    "embedding": "llama.embedding_length",
    "layers": "llama.block_count",
    "heads": "llama.attention.head_count",
    "kv_heads": "llama.attention.head_count_kv",
    "feed_forward": "llama.feed_forward_length",
    "context": "llama.context_length",
    "rope_base": "llama.rope.freq_base",
    "norm_epsilon": "llama.attention.layer_norm_rms_epsilon",
}


def gguf_name(name: str) -> str:
    """llama.cpp's name of one of the model's parameters."""
    if name == "embed.weight":
        return "token_embd.weight"
    name = name.replace("blocks.", "blk.")
    return name if name.endswith(".weight") else f"{name}.weight"


def read_header(reader: GGUFReader) -> dict[str, Any]:
    """ModelConfig's fields. Raises ValueError if the header lacks one."""
    config: dict[str, Any] = {}
    for name, key in HEADER.items():
        field = reader.get_field(key)
        if field is None:
            raise ValueError(f"not a GGUF to train from: its header lacks {key}")
        config[name] = field.contents()
    return config


def read_weights(reader: GGUFReader) -> dict[str, NDArray[np.float32]]:
    """All weights by llama.cpp's names, dequantized; matrices are [outputs, inputs]."""
    return {
        tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        for tensor in reader.tensors
    }


def read_gguf(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """Header and weights. Raises ValueError if one of the header keys that we write is missing."""
    reader = GGUFReader(path)
    return read_header(reader), read_weights(reader)
