"""The bound on DRY's sequence breakers, by the tokens in which they begin, end or stand."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import cast

from server.errors import InvalidRequest
from server.model.tokenizer import Tokenizer

SHARE = 16
"""Breakers may concern one token in so many: a breaker in every second token breaks every
repetition, and each token that it concerns takes memory and time in every answer."""

LOOKED_AT = 40
"""Bytes of a breaker that llama.cpp looks at."""


def check_breakers(breakers: Sequence[str], tokenizer: Tokenizer) -> None:
    """Raise `InvalidRequest` for breakers that concern too many tokens of the vocabulary."""
    pieces = _pieces(cast(Hashable, tokenizer))
    most = tokenizer.n_vocab // SHARE
    count = 0
    for breaker in breakers:
        count += _concerned(breaker.encode()[:LOOKED_AT], pieces)
        if count > most:
            raise InvalidRequest(
                "'dry_sequence_breakers' must stand in fewer tokens of the vocabulary than "
                f"{most:,}, all strings together",
                param="dry_sequence_breakers",
            )


def _concerned(breaker: bytes, pieces: bytes) -> int:
    """Tokens that contain the breaker, or end with its beginning."""
    ends = sum(pieces.count(breaker[:length] + b"\0") for length in range(1, len(breaker)))
    return pieces.count(breaker) + ends if breaker else 0


@lru_cache(maxsize=1)
def _pieces(of: Hashable) -> bytes:
    """All bytes of a tokenizer's tokens, each with a NUL behind it."""
    tokenizer = cast(Tokenizer, of)
    return b"".join(tokenizer.piece(token) + b"\0" for token in range(tokenizer.n_vocab))
