"""Log-probabilities in the JSON shapes of chats and of text completions."""

from __future__ import annotations

import codecs
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


class TextLogprobs:
    """The parallel lists of a text completion. Offsets are in characters, from `start` on.

    The offset of a token is that of its first character. The tokens of one character share it.
    """

    def __init__(self, tokenizer: Tokenizer, start: int = 0) -> None:
        self._tokenizer = tokenizer
        self._offset = start
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def entries(self, tokens: Iterable[GeneratedToken]) -> dict[str, Any]:
        """The lists for the next tokens."""
        lists: dict[str, list[Any]] = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
            "text_offset": [],
        }
        for token in tokens:
            text = token.piece.decode(errors="replace")
            if token.logprobs is not None:
                lists["tokens"].append(text)
                lists["token_logprobs"].append(max(token.logprobs.logprob, LOWEST))
                lists["top_logprobs"].append(self._top(token.logprobs.top))
                lists["text_offset"].append(self._offset + self._breaks_character(token.piece))
            self._offset += len(self._decoder.decode(token.piece))
        return lists

    def _breaks_character(self, piece: bytes) -> bool:
        """Whether a character was begun that this piece does not continue: U+FFFD takes its
        place."""
        begun, _ = self._decoder.getstate()
        return bool(begun and piece) and piece[0] & 0xC0 != 0x80

    def _top(self, top: Iterable[tuple[int, float]]) -> dict[str, float]:
        """Log-probabilities by text. Of two tokens with the same text, the likelier one counts."""
        found: dict[str, float] = {}
        for id_, logprob in top:
            text = self._tokenizer.piece(id_).decode(errors="replace")
            found.setdefault(text, max(logprob, LOWEST))
        return found
