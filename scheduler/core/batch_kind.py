"""The kind of a batch: what its sequences must have in common."""

from __future__ import annotations

from typing import NamedTuple

from protocol.commands import LoraSet


class BatchKind(NamedTuple):
    """A llama.cpp context has one set of adapters at a time, and yields either logits or
    embeddings. So sequences of different kinds are computed in different batches."""

    lora: LoraSet = ()
    is_embedding: bool = False
