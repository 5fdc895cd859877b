"""Finds the marks of a template that are single control tokens in the vocabulary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class SpelledTokens(Protocol):
    """The part of a vocabulary that tells which token a text spells."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Split a text; `parse_special` reads control tokens that are spelled in the text."""
        ...

    def piece(self, token: int, /) -> bytes:
        """The text of a token, which control tokens haven't."""
        ...


def control_token(text: str, tokenizer: SpelledTokens) -> int | None:
    """The control token whose text is `text`, if the vocabulary has one."""
    tokens = tokenizer.tokenize(text, add_special=False, parse_special=True)
    if len(tokens) != 1 or tokenizer.piece(tokens[0]):
        return None
    return tokens[0]


def control_tokens(marks: Iterable[str], tokenizer: SpelledTokens) -> frozenset[int]:
    """The control tokens among the marks. Texts show control tokens only on request."""
    found = (control_token(mark, tokenizer) for mark in marks)
    return frozenset(token for token in found if token is not None)
