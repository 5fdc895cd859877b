"""Early refusal of prompts that can't fit into a slot, before rendering and tokenizing.

Rendering and tokenizing take time that grows faster than the text. A prompt that is refused anyway
must not cost this time.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.errors import ContextExceeded
from server.model.tokenizer import Tokenizer

USUAL_PIECE = 8
"""Bytes. A text that fits with pieces of this length needs no look at the longest piece of the
vocabulary, which is slow to find the first time."""


def check_size(num_tokens: int, n_ctx: int, *, param: str) -> None:
    """Raise `ContextExceeded` for a prompt that leaves no room for an answer."""
    if num_tokens >= n_ctx:
        raise ContextExceeded(num_tokens, n_ctx, param=param)


def check_parts(
    parts: Sequence[str | int], tokenizer: Tokenizer, n_ctx: int, *, param: str = "prompt"
) -> None:
    """Raise `ContextExceeded` for parts that exceed `n_ctx` tokens however the texts are split.

    A part is a text or a token id.
    """
    num_chars = sum(len(part) for part in parts if isinstance(part, str))
    num_ids = sum(not isinstance(part, str) for part in parts)
    if num_ids + num_chars // USUAL_PIECE <= n_ctx:
        return
    least = num_ids + num_chars // tokenizer.longest_piece
    if least >= n_ctx:
        raise ContextExceeded(least, n_ctx, param=param, at_least=True)


def check_messages(count: int, n_ctx: int) -> None:
    """Raise `ContextExceeded` for too many messages: each message has at least one token."""
    if count >= n_ctx:
        raise ContextExceeded(count, n_ctx, param="messages", at_least=True)
