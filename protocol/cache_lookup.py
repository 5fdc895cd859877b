"""What the cache had for a prompt, and why it had no more."""

from __future__ import annotations

import enum

import msgspec


class CacheTier(enum.StrEnum):
    """The place where the cells of a reused prefix were when its sequence started."""

    SLOT = "slot"
    """In the slot that the sequence got: no cell had to move."""
    COPY = "copy"
    """In another slot."""
    HOST = "host"
    """In host memory."""
    DISK = "disk"
    """In host memory, into which the engine had read it from disk."""


class CacheResult(enum.StrEnum):
    """Why a prompt had no more tokens from the cache."""

    WHOLE = "whole"
    """All but the last token, which is always computed, were there."""
    PARTED = "parted"
    """No candidate has more tokens in common with the prompt."""
    NEW = "new"
    """Nothing in the cache begins with the prompt's first token."""
    OFF = "off"
    """The request wants nothing from the cache."""
    NO_CHECKPOINT = "no_checkpoint"
    """A candidate has more, but can't drop what lies behind: there is no checkpoint."""
    NO_COPY = "no_copy"
    """A candidate has more, but copying it is not possible, or would save little."""
    NO_ROOM = "no_room"
    """Host memory has more, but running sequences leave no room to restore it."""


class CacheLookup(msgspec.Struct, frozen=True, array_like=True):
    """What the search of the cache for one prompt came to."""

    result: CacheResult
    tier: CacheTier
    num_reused: int
    """Tokens of the prompt that are not computed again."""
    num_shared: int
    """Most first tokens that a candidate has in common with the prompt. The next token is the first
    that differs."""
    has_checkpoint: bool = False
    """Whether a checkpoint took the cells back to the reused tokens."""
