"""vLLM's form of events about blocks: arrays that begin with the event's name, in msgpack."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

ExtraKeys = list[tuple[str, ...] | None]


class BlockStored(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A medium holds these blocks. Each follows the one before it, the first the parent."""

    block_hashes: list[int]
    parent_block_hash: int | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None
    """vLLM's number of an adapter, which it names by `lora_name` now."""
    medium: str
    lora_name: str | None
    extra_keys: ExtraKeys | None
    """What tells blocks of equal tokens apart, for each block: the adapter, and for the first block
    of a prompt the salt. None if nothing does."""


class BlockRemoved(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A medium holds these blocks no longer."""

    block_hashes: list[int]
    medium: str


class AllBlocksCleared(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """No medium holds any block."""


WireEvent = BlockStored | BlockRemoved | AllBlocksCleared


@dataclass(frozen=True, slots=True)
class TopicEvents:
    """Events that are told under one topic, in one message."""

    topic: str
    events: list[WireEvent]


class EventBatch(msgspec.Struct, frozen=True, array_like=True):
    """One message: Unix time in seconds, and events in their order."""

    ts: float
    events: list[WireEvent]
    data_parallel_rank: int | None = None
