"""The matcher of constraints that llguidance enforces."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from llguidance import LLMatcher
from numpy.typing import NDArray

from grammars.constraint import LLGuidanceGrammar
from grammars.deep_stack import call_with_deep_stack
from grammars.limits import parser_limits
from scheduler.constraint.errors import ConstraintFailed, ConstraintTooComplex
from scheduler.constraint.vocabulary import TokenVocabulary


class LLGuidanceMatcher:
    """A `Matcher` over llguidance's `LLMatcher`. Building one releases the GIL."""

    def __init__(self, grammar: LLGuidanceGrammar, vocabulary: TokenVocabulary) -> None:
        build = functools.partial(
            LLMatcher,
            vocabulary.tokenizer,
            grammar.definition,
            log_level=0,
            limits=parser_limits(is_written=grammar.is_written),
        )
        inner = call_with_deep_stack(build)
        self._set_up(inner, vocabulary)
        self._check()

    def _set_up(self, inner: LLMatcher, vocabulary: TokenVocabulary) -> None:
        self._inner = inner
        self._vocabulary = vocabulary
        self._mask = np.empty(vocabulary.n_mask_words, dtype=np.int32)
        self._is_mask_current = False
        self._has_ended = False
        """Whether an end token was accepted. llguidance is not told of end tokens."""

    def allows(self, token: int) -> bool:
        """Whether `token` may come next; takes about 5 µs."""
        if token in self._vocabulary.end_tokens and self._may_end:
            return True
        if self._is_finished:
            return False
        # If text is forced, only its canonical first token is allowed, as in the mask.
        forced = self._inner.compute_ff_tokens()
        if forced:
            return forced[0] == token
        return self._inner.validate_tokens([token]) == 1

    def mask(self) -> NDArray[np.bool_]:
        """Which tokens may come next; shape (n_vocab,)."""
        self.prepare()
        return self._vocabulary.unpack_bitmask(self._mask)

    def apply_mask(self, logits: NDArray[np.float32]) -> None:
        """Set all other tokens' logits to -inf; takes about 60 µs for 152k tokens."""
        self.prepare()
        self._vocabulary.apply_bitmask(self._mask, logits)

    @property
    def refused(self) -> None:
        """None: only the mask tells."""
        return None

    @property
    def is_prepared(self) -> bool:
        """Whether the mask is there."""
        return self._is_mask_current

    def prepare(self) -> None:
        """Compute the mask, unless it is there already."""
        if not self._is_mask_current:
            self._compute_mask()
            self._is_mask_current = True

    def _compute_mask(self) -> None:
        mask = self._mask
        if self._is_finished:
            mask.fill(0)
        else:
            self._inner.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
            self._check()
        if self._may_end:
            words = mask.view(np.uint32)
            for token in self._vocabulary.end_tokens:
                words[token // 32] |= np.uint32(1 << token % 32)

    def accept(self, token: int) -> None:
        """Add `token` to the answer. Raises `ConstraintFailed` if it may not come next."""
        self._is_mask_current = False
        if token in self._vocabulary.end_tokens and self._may_end:
            self._has_ended = True
        elif self._has_ended or self._inner.try_consume_tokens([token]) != 1:
            self._check_limits()
            raise ConstraintFailed(f"token {token} is not allowed here{self._reason()}")

    def forced_tokens(self) -> list[int]:
        """The tokens that must come next; takes about 8 µs."""
        return [] if self._is_finished else self._inner.compute_ff_tokens()

    @property
    def _is_finished(self) -> bool:
        """Whether the answer is complete and can only end now."""
        return self._has_ended or self._inner.is_stopped()

    @property
    def _may_end(self) -> bool:
        return not self._has_ended and (self._inner.is_stopped() or self._inner.is_accepting())

    def validate_draft(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, from the first on, may come next one after the other."""
        ends = self._vocabulary.end_tokens
        body = [*tokens[: next((i for i, t in enumerate(tokens) if t in ends), len(tokens))]]
        n_allowed = self._validate(body)
        if n_allowed < len(body) or len(body) == len(tokens):
            return n_allowed
        after = self.clone()
        for token in body:
            after.accept(token)
        return n_allowed + after.allows(tokens[n_allowed])

    def _validate(self, tokens: list[int]) -> int:
        if not tokens or self._is_finished:
            return 0
        return self._inner.validate_tokens(tokens)

    def clone(self) -> LLGuidanceMatcher:
        """Return an independent matcher in the same state; takes about 2 µs."""
        copy = object.__new__(LLGuidanceMatcher)
        copy._set_up(self._inner.deep_copy(), self._vocabulary)
        copy._has_ended = self._has_ended
        return copy

    def _check(self) -> None:
        """Raises `ConstraintFailed` if llguidance gave up: its mask would have an end token."""
        self._check_limits()
        if self._inner.stop_reason() == "NoExtensionBias":
            raise ConstraintFailed("no token of the vocabulary continues the answer")

    def _check_limits(self) -> None:
        if self._inner.is_error():
            raise ConstraintTooComplex(
                "the constraint of the answer (grammar, json_schema, response_format, "
                "structured_outputs or tools) is too complex: finding out which tokens may come "
                f"next takes more than is allowed{self._reason()}"
            )

    def _reason(self) -> str:
        message = self._inner.get_error().strip().removesuffix("<non-verbose/>").strip()
        return f": {message}" if message else ""
