"""The matcher of lazy constraints, which begin in the middle of an answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scheduler.constraint.matcher import Matcher
from scheduler.constraint.triggers import Triggers
from scheduler.constraint.vocabulary import TokenVocabulary


class LazyMatcher:
    """A `Matcher` that allows all tokens until a trigger, and then asks an inner matcher.

    `_inner` is None until the trigger is complete.
    """

    def __init__(self, vocabulary: TokenVocabulary, triggers: Triggers) -> None:
        self._vocabulary = vocabulary
        self._triggers = triggers
        self._tail = b""
        """The last bytes of the free text, which a trigger word could begin with."""
        self._refused: tuple[int, ...] | None = None
        """The tokens that may not come after the tail; None until somebody asks."""
        self._inner: Matcher | None = None

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        if self._inner is None:
            return self._triggers.allows(token, self._tail)
        return self._inner.allows(token)

    def mask(self) -> NDArray[np.bool_]:
        """Which tokens may come next; shape (n_vocab,)."""
        if self._inner is not None:
            return self._inner.mask()
        mask = np.ones(self._vocabulary.n_tokens, dtype=np.bool_)
        mask[list(self._waiting_refused())] = False
        return mask

    def apply_mask(self, logits: NDArray[np.float32]) -> None:
        """Set all other tokens' logits to -inf."""
        if self._inner is not None:
            self._inner.apply_mask(logits)
        else:
            logits[list(self._waiting_refused())] = -np.inf

    @property
    def refused(self) -> tuple[int, ...] | None:
        """Before the trigger, the tokens that would go on after it with what can't follow."""
        return self._waiting_refused() if self._inner is None else self._inner.refused

    def _waiting_refused(self) -> tuple[int, ...]:
        if self._refused is None:
            self._refused = self._triggers.refused(self._tail)
        return self._refused

    @property
    def is_prepared(self) -> bool:
        """Whether the inner matcher's mask is there, if it decides."""
        return self._inner is None or self._inner.is_prepared

    def prepare(self) -> None:
        """Compute the inner matcher's mask now."""
        if self._inner is not None:
            self._inner.prepare()

    def accept(self, token: int) -> None:
        """Add `token` to the answer."""
        if self._inner is not None:
            self._inner.accept(token)
            return
        begun = self._triggers.begun(token, self._tail)
        if begun is not None:
            self._inner = self._triggers.matcher(begun)
            return
        text = self._tail + self._vocabulary.pieces[token]
        self._tail = text[max(len(text) - self._triggers.tail_size, 0) :]
        self._refused = None

    def forced_tokens(self) -> list[int]:
        """The tokens that must come next."""
        return [] if self._inner is None else self._inner.forced_tokens()

    def validate_draft(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, from the first on, may come next one after the other."""
        matcher = self.clone()
        for n_allowed, token in enumerate(tokens):
            if matcher._inner is not None:
                return n_allowed + matcher._inner.validate_draft(tokens[n_allowed:])
            if not matcher.allows(token):
                return n_allowed
            matcher.accept(token)
        return len(tokens)

    def clone(self) -> LazyMatcher:
        """Return an independent matcher in the same state."""
        copy = LazyMatcher(self._vocabulary, self._triggers)
        copy._tail, copy._refused = self._tail, self._refused
        copy._inner = None if self._inner is None else self._inner.clone()
        return copy
