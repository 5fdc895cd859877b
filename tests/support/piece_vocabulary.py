"""A vocabulary of given tokens, for matchers without a model."""

from __future__ import annotations

from collections.abc import Sequence, Set

from llguidance import LLTokenizer, TokenizerWrapper

from scheduler.constraint import TokenVocabulary


def vocabulary_of_pieces(
    pieces: Sequence[bytes], *, special: Set[int] = frozenset(), end_tokens: Set[int]
) -> TokenVocabulary:
    """Build a vocabulary of given tokens. Its tokenizer takes the longest piece each time.

    `special` and `end_tokens` match no text. Every byte that a grammar may ask for should be a
    token. GBNF that llguidance can't enforce needs a vocabulary of llama.cpp instead.
    """
    not_text = special | end_tokens
    wrapper = TokenizerWrapper(_GreedyTokenizer(list(pieces), not_text, min(end_tokens)))
    return TokenVocabulary(list(pieces), end_tokens, LLTokenizer(wrapper), None)


class _GreedyTokenizer:
    """The tokenizer of given pieces, with the interface that `TokenizerWrapper` wraps."""

    bos_token_id = None

    def __init__(self, pieces: list[bytes], special: Set[int], end_token: int) -> None:
        self.eos_token_id = end_token
        self.special_token_ids = sorted(special)
        self.tokens = pieces
        self._ids = {piece: t for t, piece in enumerate(pieces) if piece and t not in special}
        self._longest = max(map(len, self._ids))

    def __call__(self, text: bytes) -> list[int]:
        tokens = []
        while text:
            sizes = range(min(self._longest, len(text)), 0, -1)
            size = next(size for size in sizes if text[:size] in self._ids)
            tokens.append(self._ids[text[:size]])
            text = text[size:]
        return tokens
