"""llama.cpp's batch, over numpy arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from llama_cpp import llama_cpp as lib


class BatchRows(Protocol):
    """Consecutive tokens of one slot."""

    @property
    def slot(self) -> int:
        """The slot whose cells follow."""
        ...

    @property
    def start(self) -> int:
        """Position of the first token."""
        ...

    @property
    def tokens(self) -> list[int]:
        """The tokens, at least one."""
        ...

    @property
    def num_outputs(self) -> int:
        """How many of the tokens, counted from the end, yield logits or an embedding."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """`BatchRows` of no sequence: a warm-up, a timing, or the draft model's."""

    slot: int
    start: int
    tokens: list[int]
    num_outputs: int = 0


class LlamaBatch:
    """A `llama_batch` over numpy arrays. The arrays are filled by slices, which is fast."""

    def __init__(self, size: int) -> None:
        """`size` is the most rows that fit."""
        self.size = size
        self.output_indices: list[int] = []
        """Rows with outputs, in their order."""
        self._tokens = np.zeros(size, dtype=np.int32)
        self._positions = np.zeros(size, dtype=np.int32)
        self._counts = np.ones(size, dtype=np.int32)
        self._slots = np.zeros(size, dtype=np.int32)
        self._outputs = np.zeros(size, dtype=np.int8)
        self._written_slots: list[int] = []
        """What `_slots` begins with."""
        addresses = self._slots.ctypes.data + np.arange(size, dtype=np.uint64) * 4
        self._slot_pointers = addresses.astype(np.uint64)
        self.struct = lib.llama_batch(
            0,
            pointer(self._tokens, ctypes.c_int32),
            None,
            pointer(self._positions, ctypes.c_int32),
            pointer(self._counts, ctypes.c_int32),
            pointer(self._slot_pointers, ctypes.POINTER(ctypes.c_int32)),
            pointer(self._outputs, ctypes.c_int8),
        )

    def fill(self, runs: Sequence[BatchRows], tokens: Sequence[list[int]] | None = None) -> None:
        """Put runs one after the other. Their slots must rise, or llama.cpp cuts more often.

        `tokens` are those of the runs, if they are known already.
        """
        if tokens is None:
            tokens = [run.tokens for run in runs]
        flat: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        outputs: list[int] = []
        for run, added in zip(runs, tokens, strict=True):
            start, count = run.start, len(added)
            flat += added
            positions += range(start, start + count)
            slots += [run.slot] * count
            outputs += range(len(flat) - run.num_outputs, len(flat))
        self._write(flat, positions, slots, outputs)

    def slot(self, index: int) -> int:
        """The slot of a row with outputs."""
        return self._written_slots[self.output_indices[index]]

    def _write(
        self, tokens: list[int], positions: list[int], slots: list[int], outputs: list[int]
    ) -> None:
        count = len(tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = positions
        self.struct.n_tokens = count
        # Most steps have the rows of the step before, one token later.
        if slots == self._written_slots and outputs == self.output_indices:
            return
        self._slots[:count] = self._written_slots = slots
        self._outputs[:count] = 0
        self._outputs[outputs] = 1
        self.output_indices = outputs


def pointer(array: np.ndarray[Any, Any], kind: Any) -> Any:
    """The array's memory as a C pointer to `kind`; the caller keeps the array alive."""
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
