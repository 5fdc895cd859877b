"""A stand-in for `llama_tokenize` that no text makes overflow the stack.

llama.cpp searches a text with regular expressions that recurse for every character of a run, some
320 bytes each time. A grammar can force any text on the engine, which splits it for llguidance. So
long texts are split piece by piece: the tokens spell the text, and may differ from the model's own
where two pieces meet.
"""

from __future__ import annotations

import ctypes
from typing import Any

from llama_cpp import llama_cpp as lib

PIECE_BYTES = 1024
"""Longest text that is split in one piece: it takes 320 KiB of stack."""

_SIGNATURE = (
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_int32,
    ctypes.c_bool,
    ctypes.c_bool,
)

_Function = ctypes.CFUNCTYPE(*_SIGNATURE)

_native: Any = ctypes.cast(lib._lib.llama_tokenize, _Function)


def _tokenize(
    vocab: Any,
    text: int,
    size: int,
    tokens: int | None,
    room: int,
    add_special: bool,
    parse_special: bool,
) -> int:
    """The number of tokens, as of `llama_tokenize`; negative if there isn't room for them."""
    if size <= PIECE_BYTES:
        return int(_native(vocab, text, size, tokens, room, add_special, parse_special))
    data = ctypes.string_at(text, size)
    found: list[int] = []
    for piece in pieces(data):
        buffer = (ctypes.c_int32 * (len(piece) + 8))()
        count = _native(vocab, piece, len(piece), buffer, len(buffer), add_special, parse_special)
        found += buffer[: max(count, 0)]
        add_special = False
    if len(found) > room:
        return -len(found)
    ctypes.memmove(tokens or 0, (ctypes.c_int32 * len(found))(*found), 4 * len(found))
    return len(found)


def pieces(text: bytes) -> list[bytes]:
    """The text in pieces of limited size. A piece begins with a space if there is one, as words
    do, and never inside a character."""
    found: list[bytes] = []
    begin = 0
    while len(text) - begin > PIECE_BYTES:
        end = text.rfind(b" ", begin + 1, begin + PIECE_BYTES)
        if end < 0:
            end = begin + PIECE_BYTES
            while text[end] & 0xC0 == 0x80 and end > begin + PIECE_BYTES - 3:
                end -= 1
        found.append(text[begin:end])
        begin = end
    return [*found, text[begin:]]


_callback = _Function(_tokenize)  # libraries keep its address, so it must live on

TOKENIZE_ADDRESS = ctypes.cast(_callback, ctypes.c_void_p).value
"""Address of the function, for libraries that call it themselves."""
