"""The vocabulary of a model, in the form that matchers need."""

from __future__ import annotations

import functools
import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Set

import llama_cpp
import numpy as np
from llguidance import LLTokenizer
from numpy.typing import NDArray

from scheduler.constraint.spelling import spelling_tokenizer
from scheduler.native.piecewise_tokenize import TOKENIZE_ADDRESS
from scheduler.native.tokens import end_tokens, read_pieces

_SPECIAL = b"\xff"
"""Marks a token that text never matches. Grammars name such a token by its id or name."""

_NOT_TEXT = (
    llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
    | llama_cpp.LLAMA_TOKEN_ATTR_UNUSED
    | llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
)
"""Attributes of tokens that text never matches. User-defined tokens (`<tool_call>`, ...) are text:
llama.cpp's tokenizer makes them of text."""


class TokenVocabulary:
    """Token bytes, end tokens, and llguidance's index of the tokens. Shared by all matchers.

    Building one takes about 0.7 s and 60 MB for 152k tokens.
    """

    def __init__(
        self,
        pieces: list[bytes],
        end_tokens: Set[int],
        tokenizer: LLTokenizer,
        llama_vocab: int | None,
    ) -> None:
        self.pieces = pieces
        self.end_tokens = frozenset(end_tokens)
        self.tokenizer = tokenizer
        self.llama_vocab = llama_vocab
        """Address of the `llama_vocab`; its model must outlive this object."""
        self._penalties = np.empty((4 * self.n_mask_words, 8), dtype=np.float32)

    @property
    def n_tokens(self) -> int:
        """Number of tokens: the width of a row of logits."""
        return len(self.pieces)

    @property
    def n_mask_words(self) -> int:
        """Number of 32-bit words in a bitmask over the vocabulary."""
        return (len(self.pieces) + 31) // 32

    def apply_bitmask(self, mask: NDArray[np.int32], logits: NDArray[np.float32]) -> None:
        """Set the logits whose bit is zero to -inf. Uses a shared buffer, so for one thread only.

        `mask` has shape (n_mask_words,), `logits` has shape (n_tokens,).
        """
        np.take(_penalties_of_byte(), mask.view(np.uint8), axis=0, out=self._penalties, mode="clip")
        logits += self._penalties.reshape(-1)[: self.n_tokens]

    def unpack_bitmask(self, mask: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return the bitmask as booleans, shape (n_tokens,)."""
        bits = np.unpackbits(mask.view(np.uint8), count=self.n_tokens, bitorder="little")
        return bits.view(np.bool_)

    def pieces_with(self, text: bytes) -> list[int]:
        """The tokens whose bytes contain a text without the byte 0xFF, which no UTF-8 has."""
        joined, starts = self._joined
        found: list[int] = []
        at = joined.find(text)
        while at >= 0:
            found.append(bisect_right(starts, at) - 1)
            end = starts[found[-1] + 1] if found[-1] + 1 < len(starts) else len(joined)
            at = joined.find(text, end)
        return found

    def pieces_beginning_with(self, text: bytes) -> list[int]:
        """The tokens whose bytes begin with a text of UTF-8."""
        pieces, tokens = self._sorted
        first = bisect_left(pieces, text)
        return tokens[first : bisect_left(pieces, text + b"\xff", first)]

    @functools.cached_property
    def _joined(self) -> tuple[bytes, list[int]]:
        """All pieces, each before a byte that no text has, and where each begins."""
        starts = [0, *itertools.accumulate(len(piece) + 1 for piece in self.pieces)]
        return b"\xff".join(self.pieces), starts[:-1]

    @functools.cached_property
    def _sorted(self) -> tuple[list[bytes], list[int]]:
        """The pieces in order, and their tokens."""
        tokens = sorted(range(self.n_tokens), key=self.pieces.__getitem__)
        return [self.pieces[token] for token in tokens], tokens

    def tokenize(self, data: bytes) -> list[int]:
        """Split text into tokens, never into control tokens. Bytes that are no UTF-8 are split into
        the longest tokens that match."""
        return self.tokenizer.tokenize_bytes(data)


@functools.cache
def _penalties_of_byte() -> NDArray[np.float32]:
    """For each byte of a mask, what its eight bits add to eight logits; shape (256, 8).

    For 152k tokens, one look-up and one addition take 40 µs. Boolean indexing takes longer.
    """
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return np.where(bits, np.float32(0), np.float32(-np.inf)).astype(np.float32)


def vocabulary_of_llama(vocab: int) -> TokenVocabulary:
    """Read the vocabulary at the address of a `llama_vocab`, whose model must stay loaded."""
    n_tokens = llama_cpp.llama_vocab_n_tokens(vocab)
    pieces, ends = read_pieces(vocab), end_tokens(vocab)
    attributes = [llama_cpp.llama_vocab_get_attr(vocab, t) for t in range(n_tokens)]
    special = {t for t in range(n_tokens) if attributes[t] & _NOT_TEXT} | ends
    end_token = _main_end_token(llama_cpp.llama_vocab_eos(vocab), ends)
    native = functools.partial(
        LLTokenizer.from_llamacpp,  # type: ignore[attr-defined]
        tokens=_marked(pieces, special),
        vocab_ptr=vocab,
        tokenize_fptr=TOKENIZE_ADDRESS,
        eos_token=end_token,
        slices=None,
    )
    tokenizer = spelling_tokenizer(native, pieces, special, end_token)
    return TokenVocabulary(pieces, ends, tokenizer, vocab)


def _marked(pieces: list[bytes], special: Set[int]) -> list[bytes]:
    return [_SPECIAL + piece if t in special else piece for t, piece in enumerate(pieces)]


def _main_end_token(eos: int, end_tokens: Set[int]) -> int:
    """The end token that llguidance is told. The matchers themselves handle all end tokens."""
    return eos if eos in end_tokens or not end_tokens else min(end_tokens)
