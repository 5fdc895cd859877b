"""What a model will take that was not loaded before: its files, and the cells of its context."""

from __future__ import annotations

import contextlib
from pathlib import Path

from config import ServeSettings
from server.model.gguf_header import GgufError, GgufHeader
from server.model.inspection import inspector
from server.model.split_name import SplitName
from server.observability.process_memory import total_device_bytes
from server.pool.catalogue import ModelEntry
from server.pool.memory import NO_MEMORY, MemoryUse

PROCESS_BYTES = 150 << 20
"""What an engine takes without a model: Python, llama.cpp's libraries, their buffers."""

SHARE_OF_COMPUTE = 0.05
"""Buffers for the computation, as a share of the weights."""

_CELL_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32}
_CELL_BYTES |= {"q5_0": 22 / 32, "q4_1": 20 / 32, "q4_0": 18 / 32, "iq4_nl": 18 / 32}
"""Bytes of one value in a cell, by its type."""

_UNKNOWN_CONTEXT = 4096


def estimated(entry: ModelEntry) -> MemoryUse:
    """Bytes for the weights, the cells and the process; nothing while there is no file. Blocks."""
    path = entry.path
    if path is None or not path.is_file():
        return NO_MEMORY
    weights = sum(file.stat().st_size for file in _parts(path) if file.is_file())
    cells = 0.0
    with contextlib.suppress(GgufError):
        cells = _cells(inspector.header(path), entry.settings)
    total = weights * (1 + SHARE_OF_COMPUTE) + cells
    on_device = total * _share_on_device(entry.settings)
    return MemoryUse(int(total - on_device) + PROCESS_BYTES, int(on_device))


def _cells(header: GgufHeader, settings: ServeSettings) -> float:
    """Bytes of the KV cache, as if every layer kept every token."""
    kind = header.text("general.architecture")

    def number(key: str) -> int:
        return header.number(f"{kind}.{key}")

    heads = number("attention.head_count")
    kv_heads = number("attention.head_count_kv") or heads
    width = number("embedding_length") // heads if heads else 0
    keys = number("attention.key_length") or width
    values = number("attention.value_length") or width
    n_ctx = settings.ctx_size or number("context_length") or _UNKNOWN_CONTEXT
    per_token = keys * _CELL_BYTES[settings.cache_type_k]
    per_token += values * _CELL_BYTES[settings.cache_type_v]
    return number("block_count") * kv_heads * per_token * n_ctx


def _share_on_device(settings: ServeSettings) -> float:
    """All or nothing: whether there is a device, and layers may go to it."""
    may = settings.n_gpu_layers != 0 and settings.device != ("none",)
    return 1.0 if may and total_device_bytes() else 0.0


def _parts(path: Path) -> list[Path]:
    split = SplitName.parse(path.name)
    return [path] if split is None else [path.with_name(name) for name in split.all_names()]
