"""An estimate of how many tokens the shortest answer takes that a constraint allows."""

from __future__ import annotations

import functools
import time

import numpy as np
from numpy.typing import NDArray

from scheduler.constraint.errors import ConstraintFailed
from scheduler.constraint.matcher import Matcher
from scheduler.constraint.vocabulary import TokenVocabulary

UNKNOWN = 128
"""The estimate for an answer whose end was not found."""

MAX_CHOICES = 256
"""Most tokens that are chosen. Forced tokens don't count. A choice takes about 0.2 ms."""

MAX_SECONDS = 0.5
"""Processor time of the search. Only grammars that are slow to follow take so long."""

_CLOSERS = frozenset(b"}])")
_OPENERS = frozenset(b"{[")


def shortest_length(matcher: Matcher, vocabulary: TokenVocabulary) -> int:
    """Tokens of a short answer, without the end token. `matcher` is used up.

    The search is greedy: it ends strings, objects and lists as soon as it can. So there may be a
    shorter answer. 0 means that the answer may be empty.
    """
    try:
        return _search(matcher, vocabulary)
    except ConstraintFailed:  # a dead end of this search, not of all answers
        return UNKNOWN


def _search(matcher: Matcher, vocabulary: TokenVocabulary) -> int:
    length, num_choices, in_string = 0, 0, False
    end = time.thread_time() + MAX_SECONDS
    while not any(matcher.allows(token) for token in vocabulary.end_tokens):
        tokens = matcher.forced_tokens()
        if not tokens:
            num_choices += 1
            tokens = _choose(matcher.mask(), _ranks(vocabulary)[in_string])
        if not tokens or num_choices > MAX_CHOICES or time.thread_time() > end:
            return max(length, UNKNOWN)
        for token in tokens:
            matcher.accept(token)
            in_string ^= vocabulary.pieces[token].count(b'"') % 2 == 1
        length += len(tokens)
    return length


def _choose(mask: NDArray[np.bool_], ranks: NDArray[np.float32]) -> list[int]:
    """The allowed token of the lowest rank; no token if none is allowed."""
    allowed = np.flatnonzero(mask)
    return [int(allowed[np.argmin(ranks[allowed])])] if len(allowed) else []


@functools.lru_cache(maxsize=1)
def _ranks(vocabulary: TokenVocabulary) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The order in which tokens are tried outside of strings, and inside.

    Of tokens alike, the longest comes first.
    """
    sizes = np.array([min(len(piece), 99) / 100 for piece in vocabulary.pieces], np.float32)
    outside = np.array([_rank_in_structure(piece) for piece in vocabulary.pieces], np.float32)
    inside = np.array([_rank_in_string(piece) for piece in vocabulary.pieces], np.float32)
    return outside - sizes, inside - sizes


def _rank_in_string(piece: bytes) -> int:
    """Inside a string, a quote comes first."""
    if piece.startswith(b'"'):
        return 0
    return 1 if b'"' not in piece and b"\\" not in piece else 2


def _rank_in_structure(piece: bytes) -> int:
    """Outside of strings, what ends an object or a list comes first, and what opens one last."""
    if piece and _CLOSERS.issuperset(piece):
        return 0
    if piece.startswith(b"</"):
        return 1
    if piece in (b"0", b'""'):
        return 2
    if not piece.strip():
        return 5
    return 4 if piece[0] in _OPENERS else 3
