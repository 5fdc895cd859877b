"""A tokenizer whose tokens spell a text byte by byte, for constraints."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from llguidance import LLTokenizer, TokenizerWrapper

_PROBES = ("a", " a", "  a  b ", "A\r\n\t", "é", "ﬁ①", "▁", "a▁b", "😀")
"""Texts that vocabularies spell with other bytes: with a space in front, with U+2581 for a space or
the reverse, in lower case, or normalized."""


def spelling_tokenizer(
    native: Callable[[], LLTokenizer], pieces: Sequence[bytes], special: Set[int], end_token: int
) -> LLTokenizer:
    """Return the tokenizer of `native`, or a slower one if its tokens don't spell what they should.

    A constraint forces the tokens of a text. Tokens with other bytes would contradict the
    constraint. `native` may raise ValueError for a vocabulary that it can't read. `special` tokens
    match no text. `pieces` has the bytes of all tokens.
    """
    try:
        tokenizer = native()
    except ValueError:
        return LLTokenizer(TokenizerWrapper(_Speller(None, pieces, special, end_token)))
    speller = _Speller(tokenizer, pieces, special, end_token)
    if all(speller.is_spelled(text.encode(), speller.native(text.encode())) for text in _PROBES):
        return tokenizer
    return LLTokenizer(TokenizerWrapper(speller))


class _Speller:
    """Tokens of a text whose pieces are the text, with the interface that `TokenizerWrapper` wraps.

    They are the model's own tokens where these spell the text, else the longest that match.
    """

    bos_token_id = None

    def __init__(
        self,
        tokenizer: LLTokenizer | None,
        pieces: Sequence[bytes],
        special: Set[int],
        end_token: int,
    ) -> None:
        self.eos_token_id = end_token
        self.special_token_ids = sorted(special)
        self.tokens = list(pieces)
        self._tokenizer = tokenizer
        self._ids: dict[bytes, int] = {}
        for token, piece in enumerate(pieces):
            if piece and token not in special:
                self._ids[piece] = token
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: bytes) -> list[int]:
        tokens = self.native(text)
        return tokens if self.is_spelled(text, tokens) else self._longest_matches(text)

    def native(self, text: bytes) -> list[int]:
        """The model's own tokens of a text, if its tokenizer is known."""
        return [] if self._tokenizer is None else self._tokenizer.tokenize_bytes(text)

    def is_spelled(self, text: bytes, tokens: Sequence[int]) -> bool:
        """Whether the bytes of the tokens are the text."""
        return b"".join(self.tokens[token] for token in tokens) == text

    def _longest_matches(self, text: bytes) -> list[int]:
        """The longest tokens that spell all of the text; empty if no tokens do."""
        ends = {len(text): 0}
        for at in reversed(range(len(text))):
            sizes = range(min(self._longest, len(text) - at), 0, -1)
            fits = (n for n in sizes if at + n in ends and text[at : at + n] in self._ids)
            size = next(fits, 0)
            if size:
                ends[at] = at + size
        tokens, at = [], 0
        while at in ends and at < len(text):
            tokens.append(self._ids[text[at : ends[at]]])
            at = ends[at]
        return tokens
