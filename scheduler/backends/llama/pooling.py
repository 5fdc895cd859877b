"""Embeddings of a llama.cpp context: which ways of pooling there are, and what they need."""

from __future__ import annotations

from typing import Any

import numpy as np
from llama_cpp import llama_cpp as lib

from protocol.messages import EmbeddingInfo

POOLINGS = {"": -1, "none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}
"""llama.cpp's numbers; -1 takes what the model's file says."""

_NAMES = {number: name for name, number in POOLINGS.items()}


def embedding_info(context: Any, *, n_ctx_slot: int, is_unified: bool) -> EmbeddingInfo:
    """How this context, of a model whose slots hold `n_ctx_slot` tokens, computes embeddings.

    Pooling works on one micro-batch, so all of a prompt has to be in it; batches of several
    streams are cut where prompts differ in length. Where later tokens see all before them and
    the last one is the embedding, its row is enough.
    """
    model = lib.llama_get_model(context)
    pooling = _NAMES[lib.llama_pooling_type(context)]
    has_memory = bool(lib.llama_get_memory(context))
    sees_back = has_memory and lib.llama_get_causal_attn(context)
    is_whole = not (sees_back and pooling in ("last", "rank"))
    n_ubatch = lib.llama_n_ubatch(context)
    size = (
        lib.llama_model_n_cls_out(model) if pooling == "rank" else lib.llama_model_n_embd_out(model)
    )
    return EmbeddingInfo(
        pooling=pooling,
        size=size,
        max_tokens=min(n_ubatch, n_ctx_slot) if is_whole else n_ctx_slot,
        is_whole=is_whole,
        max_rows=n_ubatch,
        is_alone=has_memory and not is_unified,
    )


def read_vectors(context: Any, info: EmbeddingInfo, slot: int, first_row: int, rows: int) -> bytes:
    """What the last batch computed for a slot, whose rows began at `first_row`; nothing if
    llama.cpp has nothing."""
    if info.pooling != "none":
        return _floats(lib.llama_get_embeddings_seq(context, slot), info.size)
    vectors = (lib.llama_get_embeddings_ith(context, first_row + row) for row in range(rows))
    return b"".join(_floats(vector, info.size) for vector in vectors)


def _floats(address: Any, count: int) -> bytes:
    if not address:
        return b""
    return np.ctypeslib.as_array(address, shape=(count,)).astype(np.float32).tobytes()
