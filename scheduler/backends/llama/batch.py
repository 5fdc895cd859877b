"""llama.cpp's batch."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

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


class Rows(NamedTuple):
    """The rows of a batch, in their order."""

    tokens: list[int]
    positions: list[int]
    slots: list[int]
    outputs: list[int]
    """Indices of the rows that yield logits or an embedding."""

    @classmethod
    def of(cls, runs: Iterable[BatchRows]) -> Rows:
        """The rows of runs, one run after the other."""
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        outputs: list[int] = []
        for run in runs:
            added, start = run.tokens, run.start
            count = len(added)
            tokens += added
            positions += range(start, start + count)
            slots += [run.slot] * count
            outputs += range(len(tokens) - run.num_outputs, len(tokens))
        return cls(tokens, positions, slots, outputs)


class LlamaBatch:
    """A `llama_batch` over arrays, which are filled by slices.

    They are arrays of ctypes: to write a few numbers, numpy touches much more memory, which is not
    in the processor's caches between two steps.
    """

    def __init__(self, size: int) -> None:
        """`size` is the most rows that fit."""
        self.size = size
        self.output_indices: list[int] = []
        """Rows with outputs, in their order."""
        numbers = ctypes.c_int32 * size
        self._tokens: Any = numbers()
        self._positions: Any = numbers()
        self._slots: Any = numbers()
        self._counts = numbers(*[1] * size)
        self._outputs: Any = (ctypes.c_int8 * size)()
        self._written_slots: list[int] = []
        """What `_slots` begins with."""
        first, width = ctypes.addressof(self._slots), ctypes.sizeof(ctypes.c_int32)
        addresses = range(first, first + size * width, width)
        self._slot_pointers = (ctypes.c_void_p * size)(*addresses)
        self.struct = lib.llama_batch(
            0,
            self._tokens,
            None,
            self._positions,
            self._counts,
            ctypes.cast(self._slot_pointers, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            self._outputs,
        )

    def fill(self, runs: Sequence[BatchRows]) -> None:
        """Put runs one after the other. Their slots must rise, or llama.cpp cuts more often."""
        self.write(Rows.of(runs))

    def slot(self, index: int) -> int:
        """The slot of a row with outputs."""
        return self._written_slots[self.output_indices[index]]

    def write(self, rows: Rows) -> None:
        """Take rows, which fit."""
        count = len(rows.tokens)
        self._tokens[:count] = rows.tokens
        self._positions[:count] = rows.positions
        self.struct.n_tokens = count
        # Most steps have the rows of the step before, one token later.
        if rows.slots == self._written_slots and rows.outputs == self.output_indices:
            return
        self._slots[:count] = self._written_slots = rows.slots
        has_output = [0] * count
        for row in rows.outputs:
            has_output[row] = 1
        self._outputs[:count] = has_output
        self.output_indices = rows.outputs


def pointer(array: np.ndarray[Any, Any], kind: Any) -> Any:
    """The array's memory as a C pointer to `kind`; the caller keeps the array alive."""
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
