"""The matcher of lazy constraints, which begin in the middle of an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from grammars.constraint import LazyConstraint
from scheduler.constraint.matcher import Matcher
from scheduler.constraint.vocabulary import TokenVocabulary


class LazyMatcher:
    """A `Matcher` that allows all tokens until a trigger, and then asks an inner matcher.

    `_inner` is None until the trigger is complete.
    """

    def __init__(
        self,
        constraint: LazyConstraint,
        vocabulary: TokenVocabulary,
        start: Callable[[], Matcher],
    ) -> None:
        """`start` makes the inner matcher."""
        self._constraint = constraint
        self._vocabulary = vocabulary
        self._start = start
        self._words = tuple(word.encode() for word in constraint.words)
        self._tail_size = max(map(len, self._words), default=1) - 1
        self._tail = b""
        """The last bytes of the free text, which a trigger word could begin with."""
        self._inner: Matcher | None = None

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        return self._inner is None or self._inner.allows(token)

    def mask(self) -> NDArray[np.bool_]:
        """Which tokens may come next; shape (n_vocab,)."""
        if self._inner is None:
            return np.ones(self._vocabulary.n_tokens, dtype=np.bool_)
        return self._inner.mask()

    def apply_mask(self, logits: NDArray[np.float32]) -> None:
        """Set all other tokens' logits to -inf."""
        if self._inner is not None:
            self._inner.apply_mask(logits)

    @property
    def refused(self) -> tuple[int, ...] | None:
        """No tokens until the trigger is complete."""
        return () if self._inner is None else self._inner.refused

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
        text = self._tail + self._vocabulary.pieces[token]
        self._tail = text[max(len(text) - self._tail_size, 0) :]
        begun = self._begun(token, text)
        if begun is not None:
            self._begin(*begun)

    def _begun(self, token: int, text: bytes) -> tuple[list[int], bytes] | None:
        """The tokens and the text that the inner matcher begins with; None without a trigger."""
        keep = self._constraint.keep_trigger
        if token in self._constraint.tokens:
            return ([token] if keep else [], b"")
        found = [(at + len(word), at) for word in self._words if (at := text.find(word)) >= 0]
        if not found:
            return None
        end, at = min(found)
        return [], text[at if keep else end :]

    def _begin(self, tokens: list[int], text: bytes) -> None:
        inner = self._start()
        for token in [*tokens, *self._vocabulary.tokenize(text)]:
            inner.accept(token)
        self._inner = inner

    def forced_tokens(self) -> list[int]:
        """The tokens that must come next."""
        return [] if self._inner is None else self._inner.forced_tokens()

    def validate_draft(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, from the first on, may come next one after the other."""
        matcher = self.clone()
        for n_allowed, token in enumerate(tokens):
            if matcher._inner is not None:
                return n_allowed + matcher._inner.validate_draft(tokens[n_allowed:])
            matcher.accept(token)
        return len(tokens)

    def clone(self) -> LazyMatcher:
        """Return an independent matcher in the same state."""
        copy = LazyMatcher(self._constraint, self._vocabulary, self._start)
        copy._tail = self._tail
        copy._inner = None if self._inner is None else self._inner.clone()
        return copy
