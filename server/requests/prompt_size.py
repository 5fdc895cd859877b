"""What can't fit into a context is refused before it is rendered or tokenized.

Both take llama.cpp and the templates time that grows faster than the text; nobody should get that
for a prompt that is refused anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.errors import ContextExceeded
from server.model.tokenizer import Tokenizer

USUAL_PIECE = 8
"""Bytes of a token that texts of ordinary length don't exceed; saves asking for the longest."""


def check_parts(parts: Sequence[str | int], tokenizer: Tokenizer, n_ctx: int) -> None:
    """Raise `ContextExceeded` for texts and token ids that are too many however they are split."""
    num_chars = sum(len(part) for part in parts if isinstance(part, str))
    num_ids = sum(not isinstance(part, str) for part in parts)
    if num_ids + num_chars // USUAL_PIECE <= n_ctx:
        return
    least = num_ids + num_chars // tokenizer.longest_piece
    if least >= n_ctx:
        raise ContextExceeded(least, n_ctx, at_least=True)


def check_messages(count: int, n_ctx: int) -> None:
    """The same for the messages of a chat: none is shorter than a token."""
    if count >= n_ctx:
        raise ContextExceeded(count, n_ctx, at_least=True)
