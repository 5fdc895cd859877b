"""Finds the tokens that would complete a trigger and go on with what the constraint refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.constraint.errors import ConstraintFailed
from scheduler.constraint.matcher import Matcher
from scheduler.constraint.vocabulary import TokenVocabulary

_MAX_CHECKED = 5_000
"""Rests of tokens that matchers check, in some 70 µs each. After that, other rests are refused:
shorter tokens can still spell what the constraint allows. Only triggers such as "e" come so far."""

_MAX_KNOWN = 20_000
_MAX_KNOWN_ENDS = 256
"""Verdicts that are kept: of rests, and of what completes a word."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A trigger that is complete: a token, or a word and the text that follows it."""

    token: int | None = None
    word: bytes = b""
    rest: bytes = b""


@dataclass(frozen=True, slots=True)
class _After:
    """The constraint right after a trigger word, and what may come there."""

    mask: NDArray[np.bool_]
    first_bytes: frozenset[int]


class Triggers:
    """The triggers of one constraint. Copies of its matcher share them; for one thread at a time.

    A token can end a trigger and go on. The constraint must allow the rest, so other tokens may
    not come. The end of thinking is such a trigger too.
    """

    def __init__(
        self,
        vocabulary: TokenVocabulary,
        start: Callable[[], Matcher],
        *,
        words: Sequence[str],
        tokens: Sequence[int] = (),
        keeps_trigger: bool = False,
        drops_space: bool = False,
    ) -> None:
        """`start` makes a matcher of the constraint itself.

        `keeps_trigger` says that the constraint describes the trigger too. `drops_space` drops the
        white space right after it.
        """
        self.start = start
        self._vocabulary = vocabulary
        self._tokens = frozenset(tokens)
        self._keeps_trigger = keeps_trigger
        self._drops_space = drops_space
        self._words = tuple(word.encode() for word in words)
        self.tail_size = max(map(len, self._words), default=1) - 1
        """Bytes of the text so far that a trigger word could begin with, at most."""
        self._refused: dict[tuple[bytes, ...], tuple[int, ...]] = {}
        """By what would complete words whose begin has come: the tokens that may not come."""
        self._known: dict[tuple[bytes, bytes], bool] = {}
        self._num_checked = 0
        vocabulary.pieces_beginning_with(b" ")  # sorts them, which takes long the first time
        self._after = {word: self._after_word(word) for word in self._words}
        """By trigger word: where the constraint stands; None if it refuses the word."""
        self.whole = frozenset(t for word in self._words for t in vocabulary.pieces_with(word))
        """The tokens that contain a whole trigger word."""
        found = self.whole | self._tokens
        self._refused_whole = frozenset(t for t in found if not self.allows(t, b""))
        """The refused tokens among those that are or contain a whole trigger."""

    def begun(self, token: int, tail: bytes) -> Begun | None:
        """The trigger that a token completes after `tail`; the one that ends first counts."""
        if token in self._tokens:
            return Begun(token)
        return self.begun_in(tail + self._vocabulary.pieces[token])

    def begun_in(self, text: bytes) -> Begun | None:
        """The trigger word in a text, and the text behind it."""
        found = [(at + len(word), word) for word in self._words if (at := text.find(word)) >= 0]
        if not found:
            return None
        end, word = min(found)
        return Begun(None, word, text[end:].lstrip() if self._drops_space else text[end:])

    def matcher(self, begun: Begun) -> Matcher:
        """The constraint's matcher after a trigger. Raises `ConstraintFailed`."""
        matcher = self.start()
        if begun.token is not None and self._keeps_trigger:
            if matcher.allows(begun.token):
                matcher.accept(begun.token)
            else:  # the grammar may spell the token's text
                self._accept(matcher, self._vocabulary.pieces[begun.token])
        elif self._keeps_trigger:
            self._accept(matcher, begun.word)
        self._accept(matcher, begun.rest)
        return matcher

    def refused(self, tail: bytes) -> tuple[int, ...]:
        """The tokens that may not come after `tail`."""
        begun = tuple(
            word[size:]
            for word in self._words
            for size in range(1, min(len(word) - 1, len(tail)) + 1)
            if tail.endswith(word[:size])
        )
        refused = self._refused.get(begun)
        if refused is None:
            if len(self._refused) >= _MAX_KNOWN_ENDS:
                self._refused.clear()
            refused = self._refused[begun] = self._refused_after(tail, begun)
        return refused

    def _refused_after(self, tail: bytes, ends: tuple[bytes, ...]) -> tuple[int, ...]:
        """The tokens that may not come after `tail`, where one of `ends` completes a word."""
        partly = {token for end in ends for token in self._vocabulary.pieces_beginning_with(end)}
        return (*(self._refused_whole - partly), *(t for t in partly if not self.allows(t, tail)))

    def allows(self, token: int, tail: bytes) -> bool:
        """Whether a token may come after `tail`."""
        return self.fits(self.begun(token, tail))

    def fits(self, begun: Begun | None) -> bool:
        """Whether the constraint allows a trigger, and what follows it; None is no trigger."""
        if begun is None:
            return True
        if not begun.rest and not self._keeps_trigger:
            return True
        if begun.token is not None:
            return self._can_begin(begun)
        key = begun.word, begun.rest
        fits = self._known.get(key)
        if fits is None:
            fits = self._follows(begun)
            if len(self._known) < _MAX_KNOWN:
                self._known[key] = fits
        return fits

    def _follows(self, begun: Begun) -> bool:
        """Whether the constraint allows a rest. Most rests are decided without a matcher."""
        after = self._after[begun.word]
        if after is None or not begun.rest:
            return after is not None
        if begun.rest[0] not in after.first_bytes or self._num_checked == _MAX_CHECKED:
            return False
        self._num_checked += 1
        tokens = self._vocabulary.tokenize(begun.rest)
        if len(tokens) == 1 and self._vocabulary.pieces[tokens[0]] == begun.rest:
            return bool(after.mask[tokens[0]])
        return self._can_begin(begun)

    def _after_word(self, word: bytes) -> _After | None:
        try:
            matcher = self.matcher(Begun(None, word))
            mask = matcher.mask()
        except ConstraintFailed:
            return None
        pieces = self._vocabulary.pieces
        first_bytes = {pieces[token][0] for token in np.flatnonzero(mask) if pieces[token]}
        return _After(mask, frozenset(first_bytes))

    def _can_begin(self, begun: Begun) -> bool:
        try:
            self.matcher(begun)
        except ConstraintFailed:
            return False
        return True

    def _accept(self, matcher: Matcher, text: bytes) -> None:
        tokens = self._vocabulary.tokenize(text) if text else []
        pieces = self._vocabulary.pieces
        if b"".join(pieces[token] for token in tokens) != text:
            raise ConstraintFailed("no tokens spell what follows a trigger")
        for token in tokens:
            matcher.accept(token)
