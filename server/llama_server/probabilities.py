"""The JSON of `completion_probabilities`: tokens with their probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from server.generation.types import GeneratedToken
from server.model.tokenizer import Tokenizer

LOWEST = -3.4028234663852886e38
"""The lowest 32-bit float: JSON has no minus infinity."""


def probability_entries(
    tokens: Iterable[GeneratedToken], tokenizer: Tokenizer, *, post_sampling: bool
) -> list[dict[str, Any]]:
    """One entry for each token with log-probabilities.

    With `post_sampling` the entries hold probabilities (`prob`), else logarithms (`logprob`).
    """
    top_name = "top_probs" if post_sampling else "top_logprobs"
    entries = []
    for token in tokens:
        if token.logprobs is None:
            continue
        entry = _entry(token.id, token.piece, token.logprobs.logprob, post_sampling)
        entry[top_name] = [
            _entry(id_, tokenizer.piece(id_), logprob, post_sampling)
            for id_, logprob in token.logprobs.top
        ]
        entries.append(entry)
    return entries


def _entry(id_: int, piece: bytes, logprob: float, post_sampling: bool) -> dict[str, Any]:
    entry = {"id": id_, "token": piece.decode(errors="replace"), "bytes": list(piece)}
    if post_sampling:
        entry["prob"] = math.exp(logprob)
    else:
        entry["logprob"] = max(logprob, LOWEST)
    return entry
