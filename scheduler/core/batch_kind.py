"""What sequences must have in common to be computed in one batch."""

from __future__ import annotations

from typing import NamedTuple

from protocol.commands import LoraSet


class BatchKind(NamedTuple):
    """What all sequences of a batch have in common: a llama.cpp context has one set of adapters
    at a time, and yields either logits or embeddings."""

    lora: LoraSet = ()
    is_embedding: bool = False
