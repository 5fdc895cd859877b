"""Steps that repeat the step before, a token later. Most steps of a busy engine are such."""

from __future__ import annotations

from scheduler.core.step import Chunk, Step
from scheduler.kv_cache.cache_manager import KVCacheManager


class SteadySteps:
    """Tells what a step computes in which every answer goes on, and nothing else happens.

    Planning such a step anew finds the same, and takes twice as long. No device computes
    meanwhile.
    """

    def __init__(self, cache: KVCacheManager) -> None:
        self._cache = cache
        self._chunks: tuple[Chunk, ...] = ()
        """Of the last step, if the next one may repeat it."""

    def remember(self, step: Step) -> None:
        """Note a step that was planned."""
        is_whole = len(step.chunks) == self._cache.num_running
        may_repeat = is_whole and all(map(_may_repeat, step.chunks))
        self._chunks = step.chunks if may_repeat else ()

    def next_chunks(self) -> tuple[Chunk, ...]:
        """The next token of every sequence, in slot order. Empty unless each sequence of the last
        step has one token to compute."""
        chunks: list[Chunk] = []
        for chunk in self._chunks:
            sequence, stop = chunk.sequence, chunk.stop
            slot = sequence.slot
            if slot is None or slot.num_tokens != stop or len(sequence.tokens) != stop + 1:
                return ()
            chunks.append(
                Chunk(sequence, chunk.slot, stop, stop + 1, wants_logits=True, is_decode=True)
            )
        self._chunks = tuple(chunks)
        return self._chunks


def _may_repeat(chunk: Chunk) -> bool:
    """Whether the chunk is one token of an answer without drafts, whose window never moves."""
    spec = chunk.sequence.spec
    is_plain = spec.speculation is None and chunk.sequence.window is None
    is_token = chunk.is_decode and chunk.stop - chunk.start == 1 and not chunk.is_scored
    return is_plain and is_token and chunk.wants_logits
