"""Embeddings of a llama.cpp context: the ways of pooling, and what they need."""

from __future__ import annotations

from typing import Any

import numpy as np
from llama_cpp import llama_cpp as lib

from protocol.messages import EmbeddingInfo

POOLINGS = {"": -1, "none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}
"""llama.cpp's numbers of the ways of pooling. -1 takes the one that the model's file names."""

_NAMES = {number: name for name, number in POOLINGS.items()}


def embedding_info(context: Any, *, n_ctx_slot: int, is_unified: bool) -> EmbeddingInfo:
    """How this context computes embeddings. Its slots hold `n_ctx_slot` tokens.

    Pooling works on one micro-batch, so a whole prompt must be in one. A batch of several streams
    is cut where prompts differ in length, so prompts are then computed alone. If each token sees
    all before it and the last token gives the embedding, only its row is needed.
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
    """The vectors of a slot whose `rows` rows began at `first_row` of the last batch.

    Without pooling there is one vector for each row. Returns no bytes if llama.cpp has no
    vectors.
    """
    if info.pooling != "none":
        return _floats(lib.llama_get_embeddings_seq(context, slot), info.size)
    vectors = (lib.llama_get_embeddings_ith(context, first_row + row) for row in range(rows))
    return b"".join(_floats(vector, info.size) for vector in vectors)


def _floats(address: Any, count: int) -> bytes:
    if not address:
        return b""
    return np.ctypeslib.as_array(address, shape=(count,)).astype(np.float32).tobytes()
