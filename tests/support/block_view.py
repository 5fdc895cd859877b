"""What a subscriber knows who follows the engine's events about blocks, checked as it goes."""

from __future__ import annotations

from collections.abc import Iterable

from protocol.blocks import BlockEvent, BlocksCleared, BlocksRemoved, BlocksStored, Medium


class BlockView:
    """Applies events. It fails where they contradict what they told before."""

    def __init__(self, block_size: int) -> None:
        self._size = block_size
        self.held: dict[Medium, dict[int, tuple[int, ...]]] = {medium: {} for medium in Medium}
        """By medium and name: all tokens up to the block's end."""

    def apply(self, events: Iterable[BlockEvent]) -> None:
        for event in events:
            match event:
                case BlocksCleared():
                    for blocks in self.held.values():
                        blocks.clear()
                case BlocksRemoved(medium=medium, hashes=names):
                    for name in names:
                        del self.held[medium][name]
                case BlocksStored():
                    self._store(event)

    def names(self) -> dict[Medium, set[int]]:
        return {medium: set(blocks) for medium, blocks in self.held.items()}

    def _store(self, event: BlocksStored) -> None:
        blocks = self.held[event.medium]
        assert len(event.tokens) == len(event.hashes) * self._size
        before = () if event.parent is None else blocks[event.parent]
        for place, name in enumerate(event.hashes):
            assert name not in blocks, "told twice"
            assert 0 < name < 2**64
            start = place * self._size
            before = (*before, *event.tokens[start : start + self._size])
            blocks[name] = before
