"""The likeliest tokens of a row of logits, found without sorting the row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from scheduler.backends.llama.candidates import Ids, Logits

HEIGHT = 64
"""Tokens of a column."""

SPARE = 4
"""A shortlist must be so many times shorter than the number of columns."""

LARGE_VOCABULARY = 8192
"""With fewer tokens, llama.cpp's own sorting is as fast."""

Maxima = np.ndarray[Any, np.dtype[np.float32]]
"""Shape (..., n_columns): the largest logit of each column of a row."""


class Shortlist(NamedTuple):
    """Tokens in the order of falling logits; of equal logits the lowest token comes first."""

    ids: Ids
    logits: Logits


class Shortlists:
    """Finds the likeliest tokens of rows.

    A row is read as a matrix with columns of `HEIGHT` tokens. One quick pass finds the largest
    logit of each column. At least n tokens are as likely as the n-th largest of these maxima, and
    all such tokens are in the few columns whose maximum is as large.
    """

    def __init__(self, n_vocab: int) -> None:
        self._n_columns = n_vocab // HEIGHT
        self._n_regular = self._n_columns * HEIGHT
        """Tokens of the matrix; the last tokens of the vocabulary are looked at one by one."""
        self._last_ids = np.arange(self._n_regular, n_vocab)
        self.is_large = n_vocab >= LARGE_VOCABULARY

    @property
    def n_columns(self) -> int:
        """Columns of a row."""
        return self._n_columns

    def pay(self, size: int) -> bool:
        """Whether a shortlist of `size` tokens is found faster than by sorting."""
        return self.is_large and 0 < size * SPARE <= self._n_columns

    def maxima(self, rows: Logits, out: Maxima | None = None) -> Maxima:
        """The maxima of one row, shape (n_vocab,), or of several, shape (n_rows, n_vocab)."""
        matrices = rows[..., : self._n_regular].reshape(*rows.shape[:-1], HEIGHT, self._n_columns)
        maxima: Maxima = matrices.max(axis=-2, out=out)
        return maxima

    def of(self, logits: Logits, size: int, maxima: Maxima | None = None) -> Shortlist | None:
        """The `size` likeliest tokens of a row; None if the row has values that are no numbers.

        `maxima` are those of the row, if they are known.
        """
        if maxima is None:
            maxima = self.maxima(logits)
        bound = maxima.max() if size == 1 else np.partition(maxima, -size)[-size]
        columns = (maxima >= bound).nonzero()[0]
        regular = logits[: self._n_regular].reshape(HEIGHT, self._n_columns)
        values = regular[:, columns]
        heights, places = (values >= bound).nonzero()
        ids = heights * self._n_columns + columns[places]
        found = values[heights, places]
        if len(self._last_ids):
            ids = np.concatenate((ids, self._last_ids))
            found = np.concatenate((found, logits[self._n_regular :]))
        return best_of(ids, found, size) if len(ids) >= size else None


def best_of(ids: Ids, logits: Logits, size: int) -> Shortlist:
    """The `size` likeliest of some tokens, whose numbers rise."""
    order = (-logits).argsort(kind="stable")[:size]
    return Shortlist(ids[order], logits[order])
