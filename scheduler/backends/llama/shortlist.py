"""The likeliest tokens of a row of logits, found without sorting the row."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from scheduler.backends.llama.candidates import FEW, Ids, Logits

STRIDE = 32
"""Every so manieth token of a row is looked at to guess how likely the likeliest tokens are."""

SPARE = 64
"""A shortlist must be so many times shorter than the vocabulary."""


class Shortlist(NamedTuple):
    """Some tokens and their logits, both of shape (n,)."""

    ids: Ids
    logits: Logits

    def head(self, size: int) -> Shortlist:
        """The first tokens."""
        return Shortlist(self.ids[:size], self.logits[:size])


def pays(size: int, n_vocab: int) -> bool:
    """Whether a shortlist of `size` tokens is found faster than by sorting."""
    return n_vocab > FEW and 0 < size * SPARE <= n_vocab


def shortlist(row: Logits, size: int) -> Shortlist | None:
    """The `size` likeliest tokens of a row, shape (n_vocab,); None if logits are no numbers.

    Logits fall. Of equal logits the lowest token comes first. A few tokens tell a bound that more
    than `size` tokens very likely reach. If they don't, a lower bound is tried.
    """
    if size == 1:
        best = np.array([row.argmax()])
        return Shortlist(best, row[best])
    few = row[::STRIDE].copy()
    rank = _rank(size)
    while rank <= len(few):
        few.partition(-rank)
        ids = (row >= few[-rank]).nonzero()[0]
        if len(ids) >= size:
            return best_of(Shortlist(ids, row[ids]), size)
        rank *= 2
    return None


def best_of(tokens: Shortlist, size: int) -> Shortlist:
    """The `size` likeliest of some tokens, whose numbers rise."""
    order = (-tokens.logits).argsort(kind="stable")[:size]
    return Shortlist(tokens.ids[order], tokens.logits[order])


def _rank(size: int) -> int:
    """Which of the tokens that are looked at is as likely as the last of the likeliest `size`.

    It is lower by three standard deviations, since the tokens are looked at by chance.
    """
    expected = size / STRIDE
    return math.ceil(expected + 3 * math.sqrt(expected)) + 2
