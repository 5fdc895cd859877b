"""The model's vocabulary in the API process: text to tokens, tokens to bytes."""

from __future__ import annotations

from typing import Protocol


class Tokenizer(Protocol):
    """What the server needs of a vocabulary. Token ids given to it must be in range."""

    @property
    def n_vocab(self) -> int:
        """Number of tokens."""
        ...

    @property
    def bos(self) -> int | None:
        """The beginning-of-sequence token, if the vocabulary has one."""
        ...

    @property
    def eos(self) -> int | None:
        """The end-of-sequence token, if the vocabulary has one."""
        ...

    @property
    def end_tokens(self) -> frozenset[int]:
        """Every token that ends a generation."""
        ...

    def metadata(self, key: str) -> str | None:
        """A value of the GGUF's metadata, as text (`tokenizer.chat_template`, ...)."""
        ...

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Split a text; `add_special` adds BOS/EOS as the model wants, `parse_special` reads
        control tokens that are spelled in the text."""
        ...

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of one token; control tokens are empty unless `special`."""
        ...
