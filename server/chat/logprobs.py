"""Log-probabilities in the JSON shape of chats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from server.generation.types import GeneratedToken
from server.model.tokenizer import Tokenizer

LOWEST = -9999.0
"""OpenAI's number for a token that can't occur: JSON has no minus infinity."""


def chat_logprobs(tokens: Iterable[GeneratedToken], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Entries of `logprobs.content`, one for each of these tokens with log-probabilities."""
    entries = []
    for token in tokens:
        if token.logprobs is None:
            continue
        entry = _entry(token.id, token.piece, token.logprobs.logprob)
        top = token.logprobs.top
        entry["top_logprobs"] = [_entry(id_, tokenizer.piece(id_), value) for id_, value in top]
        entries.append(entry)
    return entries


def _entry(id_: int, piece: bytes, logprob: float) -> dict[str, Any]:
    return {
        "id": id_,
        "token": piece.decode(errors="replace"),
        "bytes": list(piece),
        "logprob": max(logprob, LOWEST),
    }
