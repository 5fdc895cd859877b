"""Facts about the tokens of a `llama_vocab`, given by its address."""

from __future__ import annotations

import ctypes
from typing import Any

from llama_cpp import llama_cpp as lib

from scheduler.native.library import token_to_piece

_MAX_PIECE_BYTES = 1 << 12


def end_tokens(vocab: Any) -> frozenset[int]:
    """The tokens that end a generation."""
    count = lib.llama_vocab_n_tokens(vocab)
    return frozenset(token for token in range(count) if lib.llama_vocab_is_eog(vocab, token))


def read_pieces(vocab: Any) -> list[bytes]:
    """The bytes of every token; control tokens are spelled out."""
    buffer = ctypes.create_string_buffer(_MAX_PIECE_BYTES)
    address = ctypes.addressof(buffer)
    sizes = (
        token_to_piece(vocab, token, address, _MAX_PIECE_BYTES, 0, True)
        for token in range(lib.llama_vocab_n_tokens(vocab))
    )
    return [ctypes.string_at(address, max(size, 0)) for size in sizes]
