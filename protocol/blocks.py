"""Events about blocks of the KV cache, for routers that send a request where its prompt is cached.

A block is a fixed number of tokens, with everything before them. The block's name is a hash of all
that, so equal names are equal contents.
"""

from __future__ import annotations

import enum

import msgspec

from protocol.commands import LoraSet


class Medium(enum.StrEnum):
    """Where cells are. The names are vLLM's."""

    GPU = "GPU"
    """In a slot, whatever device computes the model."""
    CPU = "CPU"
    """In host memory, from where a slot is filled."""


class BlocksStored(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A medium holds these blocks from now on. Each block follows the one before it."""

    medium: Medium
    hashes: list[int]
    """Names of the blocks: numbers of 64 bits, never 0."""
    parent: int | None
    """The block before the first of them; None at the beginning of a prompt."""
    tokens: list[int]
    """The tokens of all these blocks, without those before."""
    salt: str = ""
    lora: LoraSet = ()


class BlocksRemoved(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A medium holds these blocks no longer."""

    medium: Medium
    hashes: list[int]


class BlocksCleared(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """No medium holds any block. Each engine begins with it."""


BlockEvent = BlocksStored | BlocksRemoved | BlocksCleared
