"""The blocks that subscribers know of, and the events that change what they know."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from protocol.blocks import BlockEvent, BlocksCleared, BlocksRemoved, BlocksStored, Medium
from protocol.commands import LoraSet
from server.kv_events.wire import AllBlocksCleared, BlockRemoved, BlockStored, WireEvent


@dataclass(frozen=True, slots=True)
class _Told:
    """One block as it was told."""

    parent: int | None
    tokens: array[int]
    salt: str
    lora: LoraSet
    lora_name: str | None


class ToldBlocks:
    """Keeps what was told, so that a dead engine's blocks can be taken back one by one.

    Some routers ignore `AllBlocksCleared`, and late subscribers have heard nothing.
    """

    def __init__(self, block_size: int, lora_name: Callable[[LoraSet], str | None]) -> None:
        """`lora_name` has the name under which clients ask for a set of adapters; None for the
        model itself."""
        self._size = block_size
        self._lora_name = lora_name
        self._told: dict[Medium, dict[int, _Told]] = {medium: {} for medium in Medium}
        """By medium and name; parents come before their children."""

    def apply(self, events: Iterable[BlockEvent]) -> list[WireEvent]:
        """What subscribers have to hear of these events of the engine."""
        told: list[WireEvent] = []
        for event in events:
            match event:
                case BlocksStored():
                    told.append(self._store(event))
                case BlocksRemoved(medium=medium, hashes=hashes):
                    for name in hashes:
                        self._told[medium].pop(name, None)
                    told.append(BlockRemoved(hashes, medium.value))
                case BlocksCleared():
                    told += self.clear()
        return told

    def clear(self) -> list[WireEvent]:
        """Forget all blocks. Subscribers hear it in both ways."""
        removed = [
            BlockRemoved(list(blocks), medium.value)
            for medium, blocks in self._told.items()
            if blocks
        ]
        for blocks in self._told.values():
            blocks.clear()
        return [*removed, AllBlocksCleared()]

    def rename(self) -> list[WireEvent]:
        """Tell blocks again whose adapters have another name now."""
        events: list[WireEvent] = []
        for medium, blocks in self._told.items():
            names = {lora: self._lora_name(lora) for lora in {b.lora for b in blocks.values()}}
            changed = {n: b for n, b in blocks.items() if b.lora_name != names[b.lora]}
            if changed:
                events.append(BlockRemoved(list(changed), medium.value))
                for name, block in changed.items():
                    events.append(self._store(self._event(medium, name, block)))
        return events

    def all(self) -> Iterator[WireEvent]:
        """Events that tell a subscriber who knows nothing all that others know."""
        for medium, blocks in self._told.items():
            for name, block in blocks.items():
                yield self._wire(self._event(medium, name, block), block.lora_name)

    def _store(self, event: BlocksStored) -> BlockStored:
        lora_name = self._lora_name(event.lora)
        parent = event.parent
        for place, name in enumerate(event.hashes):
            tokens = array("i", event.tokens[place * self._size : (place + 1) * self._size])
            told = _Told(parent, tokens, event.salt, event.lora, lora_name)
            self._told[event.medium][name] = told
            parent = name
        return self._wire(event, lora_name)

    def _event(self, medium: Medium, name: int, block: _Told) -> BlocksStored:
        return BlocksStored(
            medium, [name], block.parent, block.tokens.tolist(), block.salt, block.lora
        )

    def _wire(self, event: BlocksStored, lora_name: str | None) -> BlockStored:
        adapter = () if lora_name is None else (lora_name,)
        salt = (event.salt,) if event.salt and event.parent is None else ()
        keys = [(*adapter, *salt) or None, *[adapter or None] * (len(event.hashes) - 1)]
        return BlockStored(
            block_hashes=event.hashes,
            parent_block_hash=event.parent,
            token_ids=event.tokens,
            block_size=self._size,
            lora_id=None,
            medium=event.medium.value,
            lora_name=lora_name,
            extra_keys=keys if any(keys) else None,
        )
