"""The likeliest tokens of a row of logits, found without sorting the row."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from scheduler.backends.llama.candidates import FEW, Ids, Logits

HEIGHT = 32
"""Tokens of a column."""

SPARE = 4
"""A shortlist must be so many times shorter than the number of columns."""


class Shortlist(NamedTuple):
    """Some tokens and their logits, both of shape (n,)."""

    ids: Ids
    logits: Logits

    def head(self, size: int) -> Shortlist:
        """The first tokens."""
        return Shortlist(self.ids[:size], self.logits[:size])


class Shortlists:
    """Finds the likeliest tokens of rows.

    A row is read as a matrix with columns of `HEIGHT` tokens. One quick pass finds the largest
    logit of each column. At least n tokens are as likely as the n-th largest of these maxima, and
    all such tokens are in the few columns whose maximum is as large.

    Tokens are listed in the order of falling logits. Of equal logits the lowest token comes first.
    """

    def __init__(self, n_vocab: int) -> None:
        self._n_columns = n_vocab // HEIGHT
        self._n_regular = self._n_columns * HEIGHT
        """Tokens of the matrix; the last tokens of the vocabulary are looked at one by one."""
        self._last_ids = np.arange(self._n_regular, n_vocab)
        self._is_large = n_vocab > FEW  # otherwise, llama.cpp's own sorting is as fast

    def pay(self, size: int) -> bool:
        """Whether a shortlist of `size` tokens is found faster than by sorting."""
        return self._is_large and 0 < size * SPARE <= self._n_columns

    def of(self, row: Logits, size: int) -> Shortlist | None:
        """The `size` likeliest tokens of a row, shape (n_vocab,); None if some logits are no
        numbers."""
        return self.of_rows(row[np.newaxis], size)[0]

    def of_rows(self, rows: Logits, size: int) -> list[Shortlist | None]:
        """`of` for several rows, shape (n_rows, n_vocab), which is faster than one by one."""
        if size == 1:
            best = rows.argmax(axis=1)
            return [Shortlist(best[i : i + 1], row[best[i : i + 1]]) for i, row in enumerate(rows)]
        owners, ids, logits = self._possible(rows, size)
        order = np.lexsort((ids, -logits, owners))
        ids, logits = ids[order], logits[order]
        ends = np.bincount(owners, minlength=len(rows)).cumsum().tolist()
        found: list[Shortlist | None] = []
        for start, end in itertools.pairwise([0, *ends]):
            is_whole = end - start >= size
            stop = start + size
            found.append(Shortlist(ids[start:stop], logits[start:stop]) if is_whole else None)
        return found

    def _possible(self, rows: Logits, size: int) -> tuple[Ids, Ids, Logits]:
        """Tokens among which are the likeliest ones: each one's row, number and logit."""
        matrices = rows[:, : self._n_regular].reshape(len(rows), HEIGHT, self._n_columns)
        maxima = np.empty((len(rows), self._n_columns), dtype=np.float32)
        for matrix, out in zip(matrices, maxima, strict=True):
            np.maximum.reduce(matrix, axis=0, out=out)
        bounds = np.partition(maxima, -size, axis=1)[:, -size]
        # Flat arrays are searched much faster than those of two dimensions.
        columns = (maxima >= bounds[:, np.newaxis]).reshape(-1).nonzero()[0]
        owners, columns = np.divmod(columns, self._n_columns)
        values = matrices[owners, :, columns]
        hits = (values >= bounds[owners, np.newaxis]).reshape(-1).nonzero()[0]
        places, heights = np.divmod(hits, HEIGHT)
        owners = owners[places]
        ids = heights * self._n_columns + columns[places]
        logits = values.reshape(-1)[hits]
        if not len(self._last_ids):
            return owners, ids, logits
        count = len(self._last_ids)
        return (
            np.concatenate((owners, np.arange(len(rows)).repeat(count))),
            np.concatenate((ids, np.tile(self._last_ids, len(rows)))),
            np.concatenate((logits, rows[:, self._n_regular :].reshape(-1))),
        )


def best_of(tokens: Shortlist, size: int) -> Shortlist:
    """The `size` likeliest of some tokens, whose numbers rise."""
    order = (-tokens.logits).argsort(kind="stable")[:size]
    return Shortlist(tokens.ids[order], tokens.logits[order])


def runs_of(rows: Iterable[int], longest: int) -> list[tuple[int, int]]:
    """Rising numbers as runs of neighbours, each with its start and its stop."""
    runs: list[tuple[int, int]] = []
    for row in rows:
        if runs and row == runs[-1][1] and row - runs[-1][0] < longest:
            runs[-1] = runs[-1][0], row + 1
        else:
            runs.append((row, row + 1))
    return runs
