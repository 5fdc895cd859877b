"""States from before drafts, for recurrent memories of which llama.cpp keeps no earlier states."""

from __future__ import annotations

from collections import abc
from typing import TYPE_CHECKING

from llama_cpp import llama_cpp as lib
from msgspec.structs import replace

from scheduler.core.cache_edits import Trim
from scheduler.core.step import Chunk

if TYPE_CHECKING:
    from scheduler.backends.llama.context import LlamaContext, State

ON_DEVICE = lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY | lib.LLAMA_STATE_SEQ_FLAGS_ON_DEVICE
"""The recurrent state alone, which stays where it is computed. Each slot has one at a time."""


class DraftStates:
    """What slots held before the drafts of the last batch."""

    def __init__(self, context: LlamaContext) -> None:
        self._context = context
        self._states: dict[int, State] = {}
        """By slot; llama.cpp has the states themselves."""

    def keep(self, chunks: abc.Iterable[Chunk]) -> None:
        """Keep the states of slots that are about to compute a draft. Raises `DecodeError`."""
        self._states = {
            chunk.slot: self._context.read_state(chunk.slot, ON_DEVICE)
            for chunk in chunks
            if chunk.draft
        }

    def take_back(self, verified: abc.Iterable[tuple[Chunk, int]]) -> None:
        """Compute chunks again with the right tokens of their drafts only. Raises `DecodeError`."""
        again = [_with_right(chunk, num_right) for chunk, num_right in verified]
        for chunk in again:
            # Its position must be right before the rest can be trimmed.
            self._context.set_state(chunk.slot, self._states.pop(chunk.slot), ON_DEVICE)
            self._context.edit(Trim(chunk.slot, chunk.start))
        again.sort(key=lambda chunk: chunk.slot)
        self._context.decode(again, again[0].sequence.kind)


def _with_right(chunk: Chunk, num_right: int) -> Chunk:
    draft = chunk.draft[:num_right]
    return replace(chunk, draft=draft, wants_logits=False, is_scored=False)
