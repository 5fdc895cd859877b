"""Small random LoRA adapters of the demo model, and the demo model with adapters merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tests.support.backends import TARGET

RANK = 4
ALPHA = 8.0
TARGETS = ("attn_q.weight", "attn_v.weight", "ffn_down.weight")

Matrix = np.ndarray[Any, np.dtype[np.float32]]
Pairs = dict[str, tuple[Matrix, Matrix]]
"""By the name of a weight: A of shape (rank, inputs), and B of shape (outputs, rank)."""


def random_pairs(seed: int, size: float = 0.05) -> Pairs:
    """Factors for some of the demo model's weights; the entries of their products are about
    `size`."""
    random = np.random.default_rng(seed)
    pairs: Pairs = {}
    for tensor in gguf.GGUFReader(TARGET).tensors:
        if tensor.name.endswith(TARGETS):
            n_in, n_out = (int(length) for length in tensor.shape)
            a = random.normal(0, 1, (RANK, n_in)).astype(np.float32)
            b = random.normal(0, size / ALPHA, (n_out, RANK)).astype(np.float32)
            pairs[tensor.name] = (a, b)
    return pairs


def write_adapter(
    path: Path,
    pairs: Pairs,
    *,
    arch: str = "llama",
    invocation: Sequence[int] = (),
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Write a file for `--lora`; with `invocation` tokens, the file is an aLoRA."""
    writer = gguf.GGUFWriter(str(path), arch)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", ALPHA)
    for key, text in (texts or {}).items():
        writer.add_string(key, text)
    if invocation:
        kind = gguf.GGUFValueType
        key = "adapter.alora.invocation_tokens"
        writer.add_key_value(key, list(invocation), kind.ARRAY, sub_type=kind.UINT32)
    for name, (a, b) in pairs.items():
        writer.add_tensor(f"{name}.lora_a", a)
        writer.add_tensor(f"{name}.lora_b", b)
    _finish(writer)
    return path


def write_unquantized(path: Path, merged: Sequence[tuple[Pairs, float]] = ()) -> Path:
    """Write the demo model in 32 bits, with adapters at these scales added to its weights."""
    reader = gguf.GGUFReader(TARGET)
    writer = gguf.GGUFWriter(str(path), "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            is_array = field.types[0] is gguf.GGUFValueType.ARRAY
            sub_type = field.types[-1] if is_array else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=sub_type)
    for tensor in reader.tensors:
        weight = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        for pairs, scale in merged:
            if tensor.name in pairs:
                a, b = pairs[tensor.name]
                weight = weight + scale * ALPHA / RANK * (b @ a)
        writer.add_tensor(tensor.name, weight)
    _finish(writer)
    return path


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
