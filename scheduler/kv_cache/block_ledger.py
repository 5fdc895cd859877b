"""Which blocks of tokens the cache holds, and what has changed since that was last told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from protocol.blocks import BlockEvent, BlocksCleared, BlocksRemoved, BlocksStored, Medium
from scheduler.core.cache_scope import CacheScope
from scheduler.core.sequence import Sequence, Slot
from scheduler.kv_cache.blocks import block_names, checkpoint_stops, usable_tokens
from scheduler.kv_cache.cache_manager import KVCacheManager
from scheduler.kv_cache.host_cache import CachedPrefix

Holder = Slot | CachedPrefix


@dataclass(slots=True)
class _Content:
    """What a holder had when it was last looked at."""

    tokens: list[int]
    """The holder's own list: where a slot has the same list again, only its length may differ."""
    scope: CacheScope
    stops: list[int] = field(default_factory=list)
    names: list[int] = field(default_factory=list)
    length: int = -1
    """Tokens of a slot that were recorded and computed."""
    sequence: Sequence | None = None
    """What ran in a slot."""


@dataclass(frozen=True, slots=True)
class _NewBlock:
    """A block that came into a medium, with one of its holders."""

    medium: Medium
    content: _Content
    place: int

    def follows(self, other: _NewBlock) -> bool:
        """Whether both can be told in one event."""
        return self.content is other.content and self.place == other.place + 1


class BlockLedger:
    """Compares the cache with what was told of it.

    A block is in a medium as long as any holder there has all of its tokens, and all before them.
    Nothing tells the ledger of single edits: copies, trims, shifts and preemptions show in what
    slots hold between two steps. So nothing is computed where there is no ledger.
    """

    def __init__(self, cache: KVCacheManager, block_size: int, kind: str = "") -> None:
        """`block_size` is in tokens. Blocks of another `kind` have other names."""
        self._cache = cache
        self._kind = kind
        self._size = block_size
        self._contents: dict[Holder, _Content] = {}
        self._counts: dict[Medium, Counter[int]] = {medium: Counter() for medium in Medium}
        """By medium and name, how many holders have a block."""
        self._new: dict[tuple[Medium, int], _NewBlock] = {}
        self._gone: dict[tuple[Medium, int], None] = {}
        """Blocks that came and went since the last call of `changes`, in order."""
        self._num_host_changes = 0
        self._has_begun = False

    def changes(self) -> list[BlockEvent]:
        """What became of blocks since the last call. The first call says that there were none.

        Blocks that came are told before those that went. So a block that moves from one medium to
        another is never in none.
        """
        has_begun, self._has_begun = self._has_begun, True
        num_changes = self._cache.host_cache.num_changes
        host_changed = num_changes != self._num_host_changes
        self._num_host_changes = num_changes
        for slot in self._cache.slots if host_changed else self._changed_slots():
            self._look_at_slot(slot, host_changed=host_changed)
        if host_changed:
            self._look_at_host_memory()
        if has_begun and not (self._new or self._gone):
            return []
        begin: list[BlockEvent] = [] if has_begun else [BlocksCleared()]
        events = [*begin, *self._stored(), *self._removed()]
        self._new.clear()
        self._gone.clear()
        return events

    def held(self) -> dict[Medium, list[int]]:
        """The names of all blocks that each medium holds, found anew from the cache itself."""
        held: dict[Medium, dict[int, None]] = {medium: {} for medium in Medium}
        for slot in self._cache.slots:
            count = usable_tokens(slot, self._cache, checkpoint_stops(slot, self._cache))
            names = self._names(slot.tokens, slot.scope, count)
            held[Medium.GPU].update(dict.fromkeys(names))
        for prefix in self._prefixes():
            names = self._names(prefix.tokens, prefix.scope, prefix.num_tokens)
            held[Medium.CPU].update(dict.fromkeys(names))
        return {medium: list(names) for medium, names in held.items()}

    def _changed_slots(self) -> list[Slot]:
        """The slots that may have other blocks than when they were last looked at.

        Each step asks this. An answer that goes on changes nothing: its tokens are recorded when
        it ends.
        """
        contents, length = self._contents, self._cache.index.length
        return [
            slot
            for slot in self._cache.slots
            if (content := contents.get(slot)) is None
            or content.length != min(slot.num_tokens, length(slot))
            or content.sequence is not slot.sequence
            or content.tokens is not slot.tokens
            or content.scope is not slot.scope
        ]

    def _look_at_slot(self, slot: Slot, *, host_changed: bool) -> None:
        content = before = self._contents.get(slot)
        if content is None or content.tokens is not slot.tokens or content.scope != slot.scope:
            content = _Content(slot.tokens, slot.scope, checkpoint_stops(slot, self._cache))
        elif host_changed:
            content.stops = checkpoint_stops(slot, self._cache)
        count = usable_tokens(slot, self._cache, content.stops)
        content.length = min(slot.num_tokens, self._cache.index.length(slot))
        content.sequence, content.scope = slot.sequence, slot.scope
        if content is before and count // self._size == len(content.names):
            return
        known = content.names
        content.names = self._names(slot.tokens, slot.scope, count, known)
        self._contents[slot] = content
        old = known if content is before or before is None else before.names
        self._count(Medium.GPU, content, old)

    def _look_at_host_memory(self) -> None:
        prefixes = dict.fromkeys(self._prefixes())
        for prefix in prefixes:
            if prefix not in self._contents:
                names = self._names(prefix.tokens, prefix.scope, prefix.num_tokens)
                content = _Content(prefix.tokens, prefix.scope, names=names)
                self._contents[prefix] = content
                self._count(Medium.CPU, content, [])
        for holder in list(self._contents):
            if isinstance(holder, CachedPrefix) and holder not in prefixes:
                content = self._contents.pop(holder)
                self._leave(Medium.CPU, content.names)

    def _prefixes(self) -> Iterator[CachedPrefix]:
        return (entry for entry in self._cache.host_cache if isinstance(entry, CachedPrefix))

    def _names(
        self, tokens: list[int], scope: CacheScope, num_tokens: int, known: list[int] | None = None
    ) -> list[int]:
        count = num_tokens // self._size
        return block_names(tokens, scope, self._size, known or [], count, self._kind)

    def _count(self, medium: Medium, content: _Content, before: list[int]) -> None:
        """Count what a holder has now, instead of the blocks that it had before."""
        same = 0
        for old, new in zip(before, content.names, strict=False):
            if old != new:
                break
            same += 1
        counts = self._counts[medium]
        for place, name in enumerate(content.names[same:], start=same):
            counts[name] += 1
            if counts[name] == 1:
                self._enter(name, _NewBlock(medium, content, place))
        self._leave(medium, before[same:])

    def _enter(self, name: int, block: _NewBlock) -> None:
        key = (block.medium, name)
        if key in self._gone:  # it went and came back
            del self._gone[key]
        else:
            self._new[key] = block

    def _leave(self, medium: Medium, names: Iterable[int]) -> None:
        counts = self._counts[medium]
        for name in names:
            counts[name] -= 1
            if counts[name] == 0:
                del counts[name]
                self._gone[medium, name] = None

    def _stored(self) -> Iterator[BlocksStored]:
        """One event for new blocks of one holder that follow one another."""
        run: list[_NewBlock] = []
        for block in self._new.values():
            if run and not block.follows(run[-1]):
                yield self._event(run)
                run = []
            run.append(block)
        if run:
            yield self._event(run)

    def _event(self, run: list[_NewBlock]) -> BlocksStored:
        content, first, stop = run[0].content, run[0].place, run[-1].place + 1
        return BlocksStored(
            medium=run[0].medium,
            hashes=content.names[first:stop],
            parent=content.names[first - 1] if first else None,
            tokens=content.tokens[first * self._size : stop * self._size],
            salt=content.scope.salt,
            lora=content.scope.lora,
        )

    def _removed(self) -> Iterator[BlocksRemoved]:
        for medium in Medium:
            names = [name for where, name in self._gone if where is medium]
            if names:
                yield BlocksRemoved(medium, names)
