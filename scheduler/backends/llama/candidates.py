"""The candidates that a chain of llama.cpp's samplers chooses from."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as lib

from scheduler.native.library import TOKEN_DATA, sampler_apply

Logits = np.ndarray[Any, np.dtype[np.float32]]
"""One row: shape (n_vocab,), unnormalised log-probabilities."""

Mask = np.ndarray[Any, np.dtype[np.bool_]]
"""Shape (n_vocab,): which tokens are allowed."""

Ids = np.ndarray[Any, np.dtype[np.intp]]
"""Shape (n,): tokens."""

FEW = 8192
"""Up to so many candidates, a chain takes less time than giving away the interpreter's lock."""

READABLE = 40_000
"""Up to so many tokens, a chain that begins with a top-k reads a row faster than a shortlist of it
is found. That was measured between steps, when the processor's caches hold the model's weights."""


class Candidates(threading.local):
    """A reusable `llama_token_data_array` over the whole vocabulary; each thread has its own."""

    def __init__(self, n_vocab: int) -> None:
        self._all = np.arange(n_vocab, dtype=np.int32)
        self._data = np.empty(n_vocab, dtype=TOKEN_DATA)
        """Shape (n_vocab,); a chain reorders and cuts it in place."""
        self._ids, self._logits = self._data["id"], self._data["logit"]
        self._start = ctypes.cast(self._data.ctypes.data, lib.llama_token_data_p)
        self._array = lib.llama_token_data_array()

    def choose(self, chain: int, logits: Logits) -> int:
        """Run a chain over a row of logits, shape (n_vocab,); returns the selected token."""
        self._ids[:] = self._all
        self._logits[:] = logits
        return self._apply(chain, len(self._all))

    def choose_among(self, chain: int, logits: Logits, ids: Ids) -> int:
        """`choose` as if the logits of all tokens but `ids` were minus infinity. `ids` rise."""
        self._ids[: len(ids)] = ids
        self._logits[: len(ids)] = logits[ids]
        return self._apply(chain, len(ids))

    def choose_sorted(self, chain: int, ids: Ids, logits: Logits) -> int:
        """Run a chain over tokens whose logits fall; returns the selected token."""
        size = len(ids)
        self._ids[:size] = ids
        self._logits[:size] = logits
        return self._apply(chain, size, is_sorted=True)

    def draw(self, sampler: int, count: int) -> None:
        """Let a sampler choose `count` times among one candidate, to use up its random numbers."""
        for _ in range(count):
            self._apply(sampler, 1)

    def remaining(self) -> np.ndarray[Any, Any]:
        """The candidates that this thread's last chain left, of dtype `TOKEN_DATA` and shape
        (n_left,).

        Their `p` is set to their probabilities.
        """
        first = _address(self._array.data) - _address(self._start)
        left = self._data[first // TOKEN_DATA.itemsize :][: self._array.size]
        weights = np.exp(left["logit"] - left["logit"].max())
        left["p"] = weights / weights.sum()
        return left

    def _apply(self, sampler: int, size: int, *, is_sorted: bool = False) -> int:
        """Run a sampler over the first `size` candidates; returns the selected token."""
        array = self._array
        array.data = self._start  # a sampler may have moved the start, to drop candidates
        array.size = size
        array.selected = -1
        array.sorted = is_sorted
        apply = sampler_apply if size <= FEW else lib.llama_sampler_apply
        apply(sampler, ctypes.byref(array))
        return int(array.data[array.selected].id)


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0
