"""Names of the blocks that a list of tokens has, and how many of a holder's tokens are of use."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from functools import lru_cache

from scheduler.core.cache_scope import CacheScope
from scheduler.core.sequence import Slot
from scheduler.kv_cache.cache_manager import KVCacheManager
from scheduler.kv_cache.host_cache import Checkpoint

_NAME = struct.Struct("<Q")


def block_names(
    tokens: list[int],
    scope: CacheScope,
    size: int,
    known: list[int],
    count: int,
    kind: str = "",
) -> list[int]:
    """The names of the first `count` blocks of `size` tokens. Those in `known` are right already.

    A name depends on the kind, the scope and all tokens up to the block's end, and on nothing
    else: it is the same in every engine and on every machine.
    """
    names = known[:count]
    parent = names[-1] if names else _root(scope, kind)
    for start in range(len(names) * size, count * size, size):
        content = struct.pack(f"<Q{size}i", parent, *tokens[start : start + size])
        parent = _name(content)
        names.append(parent)
    return names


def usable_tokens(slot: Slot, cache: KVCacheManager, stops: Iterable[int]) -> int:
    """How many of a slot's first tokens another sequence could start from now.

    The tokens of an answer are found once it has ended. A busy slot of a memory that can't trim
    gives away what the latest of its checkpoints takes back, `stops`; an idle one gives all.
    """
    length, abilities = min(slot.num_tokens, cache.index.length(slot)), cache.limits.abilities
    if slot.is_idle:
        return length
    if not abilities.can_copy:
        return 0
    if abilities.can_trim:
        return length
    return max((stop for stop in stops if stop <= length), default=0)


def checkpoint_stops(slot: Slot, cache: KVCacheManager) -> list[int]:
    """The positions of a busy slot's prompt to which a checkpoint takes its cells back."""
    if slot.is_idle or cache.limits.abilities.can_trim:
        return []
    entries = cache.checkpoints.within(slot.tokens[: cache.index.length(slot)], slot.scope)
    return [entry.num_tokens for entry in entries if isinstance(entry, Checkpoint)]


@lru_cache(maxsize=256)
def _root(scope: CacheScope, kind: str) -> int:
    """Takes the place of a name before the first block."""
    return _name(repr((scope.salt, scope.lora, *filter(None, (kind,)))).encode())


def _name(content: bytes) -> int:
    """A hash that isn't 0, which routers take for no block at all."""
    (name,) = _NAME.unpack(hashlib.blake2b(content, digest_size=_NAME.size).digest())
    return int(name) or 1
