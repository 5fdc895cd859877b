"""Finds the marks of a template that are single control tokens in the vocabulary."""

from __future__ import annotations

from collections.abc import Iterable

from server.model.tokenizer import Tokenizer


def control_token(text: str, tokenizer: Tokenizer) -> int | None:
    """The control token whose text is `text`, if the vocabulary has one."""
    tokens = tokenizer.tokenize(text, add_special=False, parse_special=True)
    if len(tokens) != 1 or tokenizer.piece(tokens[0]):
        return None
    return tokens[0]


def control_tokens(marks: Iterable[str], tokenizer: Tokenizer) -> frozenset[int]:
    """The control tokens among the marks. Texts show control tokens only on request."""
    found = (control_token(mark, tokenizer) for mark in marks)
    return frozenset(token for token in found if token is not None)
