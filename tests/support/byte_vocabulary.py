"""The smallest vocabulary that can write any text."""

from __future__ import annotations

from server.model.tokenizer import Tokenizer


class Bytes(Tokenizer):
    """A vocabulary of bytes and, if asked for, control tokens."""

    n_vocab = 256
    bos: int | None = None
    eos: int | None = None
    end_tokens: frozenset[int] = frozenset()
    longest_piece = 8

    def __init__(self, *control: str) -> None:
        self._control = control

    def metadata(self, key: str) -> str | None:
        return None

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        if parse_special and text in self._control:
            return [256 + self._control.index(text)]
        return list(text.encode())

    def join_pair(self, first: list[int], second: list[int]) -> list[int]:
        return [*first, *second]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        if token < 256:
            return bytes([token])
        return self._control[token - 256].encode() if special else b""
