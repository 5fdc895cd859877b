"""Whose turn it is, where not all sequences can be computed together. Policy only."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from scheduler.protocol import LoraSet


class BatchKind(NamedTuple):
    """What all sequences of a batch have in common: a llama.cpp context has one set of adapters
    at a time, and yields either logits or embeddings."""

    lora: LoraSet = ()
    is_embedding: bool = False


class Turns:
    """Round robin among the kinds that have work.

    A kind that comes, or comes back, waits behind those that wait already: with n kinds each is
    served within n turns, whatever the others do.
    """

    def __init__(self) -> None:
        self._order: list[BatchKind] = []

    def take(self, kinds: Collection[BatchKind]) -> BatchKind:
        """The kind to serve now, of at least one that has work; it goes to the end."""
        waiting = [kind for kind in self._order if kind in kinds]
        waiting += [kind for kind in kinds if kind not in waiting]
        self._order = [*waiting[1:], waiting[0]]
        return waiting[0]
