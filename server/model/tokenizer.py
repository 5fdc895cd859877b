"""The model's vocabulary in the API process: text to tokens, tokens to bytes."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from llama_cpp import llama_cpp as lib

from protocol.metadata import MetadataOverride, override_array
from server.startup import VocabularyError

_UTF8_BYTES = (*range(0xC0), *range(0xC2, 0xF5))
"""Every byte that UTF-8 has."""


@dataclass(frozen=True, slots=True)
class FimTokens:
    """Control tokens of a model that was trained to fill in the middle of a text."""

    prefix: int
    suffix: int
    middle: int
    repository: int | None
    """Stands before the name of a repository."""
    file: int | None
    """Stands before the name of a file."""


class Tokenizer(Protocol):
    """The parts of a vocabulary that the server needs. Token ids must be in range."""

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

    @property
    def fim(self) -> FimTokens | None:
        """The tokens for filling in the middle, if the model has them."""
        return None

    @property
    def longest_piece(self) -> int:
        """The maximum number of bytes that one token stands for."""
        ...

    def metadata(self, key: str) -> str | None:
        """A value of the GGUF's metadata, as text (`tokenizer.chat_template`, ...)."""
        ...

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Split a text. `add_special` adds BOS/EOS as the model wants; `parse_special` reads
        control tokens that are spelled in the text."""
        ...

    def join_pair(self, first: list[int], second: list[int]) -> list[int]:
        """The tokens of two texts as one input, with the special tokens that the model wants."""
        ...

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of one token; control tokens are empty unless `special`."""
        ...

    def text(self, tokens: Iterable[int], *, special: bool = False) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD.

        Control tokens have no text unless `special`.
        """
        pieces = (self.piece(token, special=special) for token in tokens)
        return b"".join(pieces).decode(errors="replace")

    def prompt_text(self, tokens: Sequence[int]) -> str:
        """The text of a whole prompt, control tokens included.

        Other than `text`, it has no space at its beginning that only the tokenizer added.
        """
        return self.text(tokens, special=True)


class LlamaTokenizer(Tokenizer):
    """The vocabulary of a GGUF, loaded without its weights. Raises `VocabularyError`.

    The class is thread-safe: llama.cpp's vocabulary doesn't change after loading.
    """

    def __init__(self, path: Path, overrides: Sequence[MetadataOverride] = ()) -> None:
        """`overrides` replace values of the GGUF's metadata, as in the engine."""
        params = lib.llama_model_default_params()
        params.vocab_only = True
        metadata = override_array(overrides)  # must live until the vocabulary is loaded
        params.kv_overrides = metadata
        self._model: Any = lib.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise VocabularyError(f"llama.cpp can't read the vocabulary of {path}")
        # Its memory is free once nobody, and no thread, uses the vocabulary any more.
        weakref.finalize(self, lib.llama_model_free, self._model).atexit = False
        self._vocab: Any = lib.llama_model_get_vocab(self._model)
        self._n_vocab: int = lib.llama_vocab_n_tokens(self._vocab)
        self._pieces: dict[tuple[int, bool], bytes] = {}
        self._check_bytes(path)

    def _check_bytes(self, path: Path) -> None:
        """Raise `VocabularyError` if a text may have a byte without token: llama.cpp would end the
        process."""
        if lib.llama_vocab_type(self._vocab) != lib.LLAMA_VOCAB_TYPE_SPM:
            return
        texts = {lib.llama_vocab_get_text(self._vocab, token) for token in range(self._n_vocab)}
        for byte in _UTF8_BYTES:
            if b"<0x%02X>" % byte not in texts and bytes([byte]) not in texts:
                raise VocabularyError(
                    f"the vocabulary of {path} has no token for byte 0x{byte:02X}"
                )

    @property
    def n_vocab(self) -> int:
        return self._n_vocab

    @property
    def bos(self) -> int | None:
        return _or_none(lib.llama_vocab_bos(self._vocab))

    @property
    def eos(self) -> int | None:
        return _or_none(lib.llama_vocab_eos(self._vocab))

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        vocab = self._vocab
        return frozenset(t for t in range(self._n_vocab) if lib.llama_vocab_is_eog(vocab, t))

    @cached_property
    def fim(self) -> FimTokens | None:
        vocab = self._vocab
        parts = (lib.llama_vocab_fim_pre, lib.llama_vocab_fim_suf, lib.llama_vocab_fim_mid)
        prefix, suffix, middle = (_or_none(part(vocab)) for part in parts)
        if prefix is None or suffix is None or middle is None:
            return None
        repository, file = lib.llama_vocab_fim_rep(vocab), lib.llama_vocab_fim_sep(vocab)
        return FimTokens(prefix, suffix, middle, _or_none(repository), _or_none(file))

    @cached_property
    def longest_piece(self) -> int:
        """The maximum number of bytes that one token stands for. The first call asks for every
        token."""
        return max(len(self._read_piece(token, True)) for token in range(self._n_vocab))

    def metadata(self, key: str) -> str | None:
        """A value of the GGUF's metadata, as text."""
        size = 4096
        while True:
            buffer = ctypes.create_string_buffer(size)
            length: int = lib.llama_model_meta_val_str(self._model, key.encode(), buffer, size)
            if length < 0:
                return None
            if length < size:
                return buffer.value.decode(errors="replace")
            size = length + 1

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Split a text into tokens."""
        data = text.encode(errors="replace")
        room = len(data) + 8
        while True:
            tokens = (ctypes.c_int32 * room)()
            count: int = lib.llama_tokenize(
                self._vocab, data, len(data), tokens, room, add_special, parse_special
            )
            if count >= 0:
                return tokens[:count]
            room = -count

    def join_pair(self, first: list[int], second: list[int]) -> list[int]:
        """The tokens of two texts as one input: [BOS] first [EOS] [SEP] second [EOS].

        Only the special tokens that the vocabulary says to add are added. If the vocabulary has no
        EOS, SEP replaces it.
        """
        vocab = self._vocab
        sep = lib.llama_vocab_sep(vocab)
        eos = sep if self.eos is None else self.eos
        begin = [lib.llama_vocab_bos(vocab)] if lib.llama_vocab_get_add_bos(vocab) else []
        end = [eos] if lib.llama_vocab_get_add_eos(vocab) else []
        middle = [sep] if lib.llama_vocab_get_add_sep(vocab) else []
        tokens = [*begin, *first, *end, *middle, *second, *end]
        return [token for token in tokens if token >= 0]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of one token; control tokens are empty unless `special`."""
        piece = self._pieces.get((token, special))
        if piece is None:
            piece = self._pieces[token, special] = self._read_piece(token, special)
        return piece

    def prompt_text(self, tokens: Sequence[int]) -> str:
        """The text of a whole prompt, control tokens included."""
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        size = 8 * len(tokens) + 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length: int = lib.llama_detokenize(
                self._vocab, ids, len(tokens), buffer, size, False, True
            )
            if length >= 0:
                return buffer.raw[:length].decode(errors="replace")
            size = -length

    def _read_piece(self, token: int, special: bool) -> bytes:
        if not 0 <= token < self._n_vocab:
            raise IndexError(f"token {token} is outside the vocabulary")
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length: int = lib.llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
            if length >= 0:
                return buffer.raw[:length]
            size = -length


def _or_none(token: int) -> int | None:
    return token if token >= 0 else None
