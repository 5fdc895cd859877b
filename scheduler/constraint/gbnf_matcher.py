"""The matcher of GBNF constraints, which llama.cpp's own grammar sampler enforces."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from scheduler.constraint.errors import ConstraintFailed
from scheduler.constraint.matcher import allowed_in_turn
from scheduler.constraint.vocabulary import TokenVocabulary
from scheduler.native.library import TOKEN_DATA


class GbnfMatcher:
    """A `Matcher` over `llama_sampler_init_grammar`: slow, but the reference for the others.

    A mask takes milliseconds, without the GIL. No tokens are forced.
    """

    def __init__(self, text: str, vocabulary: TokenVocabulary) -> None:
        if vocabulary.llama_vocab is None:
            raise ConstraintFailed("this grammar needs a vocabulary of llama.cpp")
        sampler = llama_cpp.llama_sampler_init_grammar(
            vocabulary.llama_vocab, text.encode(), b"root"
        )
        if not sampler:
            raise ConstraintFailed("llama.cpp refuses the grammar")
        self._set_up(vocabulary, sampler)

    def _set_up(self, vocabulary: TokenVocabulary, sampler: object) -> None:
        self._vocabulary = vocabulary
        self._sampler = sampler
        self._free = weakref.finalize(self, llama_cpp.llama_sampler_free, sampler)
        self._mask: NDArray[np.bool_] | None = None
        """The mask of the current state, once it is computed."""
        self._has_ended = False
        """Whether an end token was accepted."""

    def _allowed(self, tokens: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which of these tokens may come next."""
        if self._has_ended:
            return np.zeros(len(tokens), dtype=np.bool_)
        data = np.zeros(len(tokens), dtype=TOKEN_DATA)
        data["id"] = tokens
        array = llama_cpp.llama_token_data_array(
            data=ctypes.cast(data.ctypes.data, llama_cpp.llama_token_data_p),
            size=len(data),
            selected=-1,
            sorted=False,
        )
        llama_cpp.llama_sampler_apply(self._sampler, ctypes.byref(array))
        allowed: NDArray[np.bool_] = data["logit"] == 0
        return allowed

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        return bool(self._allowed(np.array([token], dtype=np.int32))[0])

    def mask(self) -> NDArray[np.bool_]:
        """Which tokens may come next; shape (n_vocab,)."""
        return self._computed_mask().copy()

    def apply_mask(self, logits: NDArray[np.float32]) -> None:
        """Set all other tokens' logits to -inf."""
        logits[~self._computed_mask()] = -np.inf

    @property
    def refused(self) -> None:
        """None: only the mask tells."""
        return None

    @property
    def is_prepared(self) -> bool:
        """Whether the mask is there."""
        return self._mask is not None

    def prepare(self) -> None:
        """Compute the mask, unless it is there already."""
        self._computed_mask()

    def _computed_mask(self) -> NDArray[np.bool_]:
        if self._mask is None:
            self._mask = self._allowed(np.arange(self._vocabulary.n_tokens, dtype=np.int32))
        return self._mask

    def accept(self, token: int) -> None:
        """Add `token` to the answer. Raises `ConstraintFailed` if it may not come next."""
        if not self.allows(token):  # llama.cpp would end the process
            raise ConstraintFailed(f"token {token} is not allowed here")
        self._mask = None
        llama_cpp.llama_sampler_accept(self._sampler, token)
        self._has_ended = token in self._vocabulary.end_tokens

    def forced_tokens(self) -> list[int]:
        """An empty list: finding forced tokens would take a mask for each token."""
        return []

    def validate_draft(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, from the first on, may come next one after the other."""
        return allowed_in_turn(self.clone(), tokens)

    def clone(self) -> GbnfMatcher:
        """Return an independent matcher in the same state."""
        copy = object.__new__(GbnfMatcher)
        sampler = llama_cpp.llama_sampler_clone(self._sampler)
        copy._set_up(self._vocabulary, sampler)
        copy._has_ended = self._has_ended
        return copy
