"""llm-d's rules for choosing a replica: who has most of the prompt, and who has least to do.

Rebuilt from llm-d's documentation: `precise-prefix-cache-producer` with `speculativeIndexing`,
`prefix-cache-scorer`, `queue-scorer` and `kv-cache-utilization-scorer`. The router names blocks
itself; the replicas' names only tell which blocks they mean.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtests.routing.subscriber import AllBlocksCleared, BlockStored, KVCacheEvent

MEDIUM_WEIGHTS = {"GPU": 1.0, "CPU": 0.8}
PREFIX, QUEUE, USAGE = 3.0, 2.0, 2.0
"""Weights of the three scores, as gpustack sets them for llm-d."""

SPECULATIVE_SECONDS = 2.0
"""So long a chosen replica is taken to have the prompt, without an event that says so."""

Key = int
Name = str
"""Of a replica."""


@dataclass
class Load:
    """What a replica's metrics say."""

    num_waiting: float = 0.0
    usage: float = 0.0


class BlockIndex:
    """Which replica holds which block, in which medium."""

    def __init__(self, block_size: int) -> None:
        self._size = block_size
        self._keys: dict[Name, dict[int, Key]] = defaultdict(dict)
        """By replica and the replica's own name of the block."""
        self._media: dict[Name, dict[Key, set[str]]] = defaultdict(dict)
        self._expected: dict[Name, dict[Key, float]] = defaultdict(dict)

    def keys(self, tokens: Sequence[int], parent: Key = 0) -> list[Key]:
        """The router's own names of the whole blocks of a prompt."""
        keys = []
        for start in range(0, len(tokens) - self._size + 1, self._size):
            block = tuple(tokens[start : start + self._size])
            parent = hash((parent, block))
            keys.append(parent)
        return keys

    def apply(self, replica: Name, event: KVCacheEvent) -> None:
        """Take in an event of a replica. A block whose parent is unknown stays unknown too."""
        if isinstance(event, AllBlocksCleared):
            self._media[replica].clear()
            return
        known, media = self._keys[replica], self._media[replica]
        medium = event.medium or "GPU"
        if isinstance(event, BlockStored):
            before = event.parent_block_hash
            parent = 0 if before is None else known.get(before)
            if parent is None:
                return
            keys = self.keys(event.token_ids, parent)
            for name, key in zip(event.block_hashes, keys, strict=True):
                known[name] = key
                media.setdefault(key, set()).add(medium)
        else:
            for name in event.block_hashes:
                media.get(known.get(name, 0), set()).discard(medium)

    def forget(self, replica: Name) -> None:
        """Drop what is known of a replica that is gone."""
        for known in (self._keys, self._media, self._expected):
            known.pop(replica, None)

    def expect(self, replica: Name, keys: Sequence[Key], now: float) -> None:
        """Take it that a replica will have these blocks, because a request is on its way."""
        self._expected[replica].update(dict.fromkeys(keys, now + SPECULATIVE_SECONDS))

    def prefix_score(self, replica: Name, keys: Sequence[Key], now: float) -> float:
        """The share of a prompt's blocks that a replica has in a row from the first on."""
        media, expected = self._media[replica], self._expected[replica]
        score = 0.0
        for key in keys:
            weights = [MEDIUM_WEIGHTS[medium] for medium in media.get(key, ())]
            if expected.get(key, 0.0) > now:
                weights.append(1.0)
            if not weights:
                break
            score += max(weights)
        return score / len(keys) if keys else 0.0


def choose(
    index: BlockIndex,
    loads: Mapping[Name, Load],
    keys: Sequence[Key],
    now: float,
    dice: random.Random,
) -> Name:
    """The replica with the highest sum of scores; one of the best by lot."""
    waiting = [load.num_waiting for load in loads.values()]
    most, least = max(waiting), min(waiting)
    scores = {}
    for replica, load in loads.items():
        queue = (most - load.num_waiting) / (most - least) if most > least else 1.0
        prefix = index.prefix_score(replica, keys, now)
        scores[replica] = PREFIX * prefix + QUEUE * queue + USAGE * (1.0 - load.usage)
    best = max(scores.values())
    return dice.choice([replica for replica, score in scores.items() if score == best])
