"""The matcher of answers that begin with thinking; it also ends thinking that is too long."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from grammars.constraint import ThinkingConstraint
from scheduler.constraint.errors import ConstraintFailed
from scheduler.constraint.matcher import Matcher, allowed_in_turn
from scheduler.constraint.thinking_limits import thinking_limits
from scheduler.constraint.triggers import Begun, Triggers
from scheduler.constraint.vocabulary import TokenVocabulary

MAX_BYTES = 4
"""Most bytes of a character in UTF-8."""


class _Phase(enum.Enum):
    START = enum.auto()
    """Too early to tell whether the model thinks."""
    THINKING = enum.auto()
    ENDING = enum.auto()
    """The thinking is too long: the tokens that end it are forced."""
    ANSWER = enum.auto()


@dataclass(frozen=True, slots=True)
class _State:
    """Where the answer stands after a token."""

    phase: _Phase
    text: bytes = b""
    """START: the whole text. THINKING: the last bytes, which the closing could begin with."""
    num_opening: int = 0
    """START: how many tokens of the canonical opening have come; -1 if the text differs."""
    num_thought: int = 0
    """THINKING: tokens of the thinking."""
    num_ended: int = 0
    """ENDING: tokens that have come of those that end the thinking."""
    num_gaps: int = 0
    """ANSWER: tokens of white space after the thinking."""
    has_thought: bool = False
    is_inner_alive: bool = True
    """START: whether the text so far may also be an answer without thinking."""
    has_begun: bool = False
    """ANSWER after thinking: whether the inner matcher has accepted a token."""

    @property
    def is_thought(self) -> bool:
        """Whether the next token is part of the thinking, so that the inner matcher has no say."""
        return self.phase in (_Phase.THINKING, _Phase.ENDING)


class ThinkingMatcher:
    """A `Matcher` that leaves thinking free, ends it in time, and then asks an inner matcher.

    The inner matcher starts at the answer's first token, in case the model does not think. It
    starts again after the thinking. A token can end the thinking and go on: tokens that go on with
    what the inner matcher refuses may not come.
    """

    def __init__(
        self,
        constraint: ThinkingConstraint,
        vocabulary: TokenVocabulary,
        after: Triggers | None,
        shortest: int = 0,
    ) -> None:
        """`after` makes the inner matcher; None leaves the text after the thinking free.

        `shortest` is the number of tokens that the inner matcher needs at least.
        """
        self._constraint = constraint
        self._vocabulary = vocabulary
        self._after = after
        self._closing = constraint.closing.encode()
        self._opening = b"".join(vocabulary.pieces[token] for token in constraint.opening)
        self._ends = tuple(sorted(vocabulary.end_tokens)) if after else ()
        self._inner = None if after is None else after.start()
        self._limits = thinking_limits(constraint, shortest)
        self._num_accepted = 0
        if not self._limits.may_begin:
            self._state = _State(_Phase.ANSWER)
        else:
            self._state = _State(_Phase.START) if constraint.opening else self._thinking()

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        state = self._state
        if state.phase is _Phase.ENDING:
            return token == self._constraint.end[state.num_ended]
        if state.phase is _Phase.THINKING:
            return token not in self._ends and self._may_follow_thought(token)
        if not self._may_begin(token):
            return False
        if self._inner is None or token in self._extras():
            return True
        return state.is_inner_alive and self._inner.allows(token)

    def mask(self) -> NDArray[np.bool_]:
        """Which tokens may come next; shape (n_vocab,)."""
        state = self._state
        refused = self.refused
        if refused is not None:
            mask = np.ones(self._vocabulary.n_tokens, dtype=np.bool_)
            mask[list(refused)] = False
            return mask
        if state.phase is not _Phase.ENDING and state.is_inner_alive and self._inner is not None:
            mask = self._inner.mask()
        else:
            mask = np.zeros(self._vocabulary.n_tokens, dtype=np.bool_)
        mask[self._extras()] = True
        mask[self._never_beginning()] = False
        return mask

    def apply_mask(self, logits: NDArray[np.float32]) -> None:
        """Set all other tokens' logits to -inf."""
        refused = self.refused
        if refused is not None:
            logits[list(refused)] = -np.inf
        elif self._inner is not None and self._is_inner_alone:
            self._inner.apply_mask(logits)
        else:
            logits[~self.mask()] = -np.inf

    @property
    def refused(self) -> tuple[int, ...] | None:
        """During thinking, if a constraint follows, the end tokens, and those that end the thinking
        and go on with what the constraint refuses."""
        phase = self._state.phase
        if phase is _Phase.THINKING:
            after = self._after
            return self._ends if after is None else (*self._ends, *after.refused(self._state.text))
        if phase is _Phase.ENDING:
            return None
        if self._inner is None:
            return ()
        return self._inner.refused if self._is_inner_alone else None

    @property
    def is_prepared(self) -> bool:
        """Whether the inner matcher's mask is there, if it decides next."""
        return self._deciding is None or self._deciding.is_prepared

    def prepare(self) -> None:
        """Compute the inner matcher's mask now, if it decides next."""
        if self._deciding is not None:
            self._deciding.prepare()

    @property
    def _deciding(self) -> Matcher | None:
        """The inner matcher, if the next token may be its own."""
        state = self._state
        return self._inner if state.is_inner_alive and not state.is_thought else None

    def accept(self, token: int) -> None:
        """Add `token` to the answer."""
        self._state = self._next(token)
        self._num_accepted += 1

    def end_thinking(self) -> int | None:
        """End the thinking as if its limit were reached.

        Returns the number of tokens accepted so far; None if the answer is not thinking now.
        """
        state = self._state
        if state.phase is not _Phase.THINKING:
            return None
        self._limits = replace(self._limits, num_tokens=state.num_thought)
        if not self._is_unfinished(state.text):
            self._state = _State(_Phase.ENDING)
        return self._num_accepted

    def forced_tokens(self) -> list[int]:
        """The tokens that must come next."""
        state = self._state
        if state.phase is _Phase.ENDING:
            return list(self._constraint.end[state.num_ended :])
        if self._inner is None or not self._is_inner_alone:
            return []
        return self._inner.forced_tokens()

    def validate_draft(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, from the first on, may come next one after the other."""
        if self._inner is not None and self._is_inner_alone:
            return self._inner.validate_draft(tokens)
        return allowed_in_turn(self.clone(), tokens)

    def clone(self) -> ThinkingMatcher:
        """Return an independent matcher in the same state."""
        copy = object.__new__(ThinkingMatcher)
        copy.__dict__.update(self.__dict__)
        copy._inner = None if self._inner is None else self._inner.clone()
        return copy

    @property
    def _is_inner_alone(self) -> bool:
        """Whether the inner matcher alone decides."""
        return self._state.phase is _Phase.ANSWER and not self._extras()

    def _extras(self) -> list[int]:
        """Tokens that may come next besides those that the inner matcher allows."""
        state, constraint = self._state, self._constraint
        if state.phase is _Phase.ENDING:
            return [constraint.end[state.num_ended]]
        if state.phase is _Phase.START and state.num_opening >= 0:
            return [constraint.opening[state.num_opening]]
        may_gap = state.has_thought and not state.has_begun
        may_gap = may_gap and state.num_gaps < self._limits.num_gaps
        return list(constraint.gaps) if may_gap and state.phase is _Phase.ANSWER else []

    def _may_follow_thought(self, token: int) -> bool:
        """Whether the constraint allows what a token has behind the end of the thinking."""
        return self._after is None or self._after.allows(token, self._state.text)

    def _may_begin(self, token: int) -> bool:
        """Whether a token doesn't open and end the thinking, and go on with what is refused."""
        after, state = self._after, self._state
        if after is None or state.phase is not _Phase.START or token not in after.whole:
            return True
        thought = self._thought_in(state.text + self._vocabulary.pieces[token])
        return thought is None or after.fits(after.begun_in(thought))

    def _never_beginning(self) -> list[int]:
        """The tokens that `_may_begin` refuses."""
        if self._after is None or self._state.phase is not _Phase.START:
            return []
        return [token for token in self._after.whole if not self._may_begin(token)]

    def _thought_in(self, text: bytes) -> bytes | None:
        """What follows the opening in the text of an answer; None if the answer doesn't think."""
        begun = text.lstrip()
        return begun[len(self._opening) :] if begun.startswith(self._opening) else None

    def _next(self, token: int) -> _State:
        """The state after a token. Raises `ConstraintFailed` if the token may not come."""
        state = self._state
        if state.phase is _Phase.START:
            return self._after_start(state, token)
        if state.phase is _Phase.THINKING:
            return self._after_thought(state, token)
        if state.phase is _Phase.ENDING:
            return self._after_end(state, token)
        if self._inner is None:
            return state
        if token in self._extras() and not self._inner.allows(token):
            return replace(state, num_gaps=state.num_gaps + 1)
        self._inner.accept(token)
        return state if state.has_begun else replace(state, has_begun=True)

    def _after_start(self, state: _State, token: int) -> _State:
        text = state.text + self._vocabulary.pieces[token]
        thought = self._thought_in(text)
        if thought is not None:
            return self._thinking(thought)
        is_opening = self._opening.startswith(text.lstrip())
        is_canonical = state.num_opening >= 0 and token in self._extras()
        is_inner_alive = state.is_inner_alive and (self._inner is None or self._inner.allows(token))
        if not (is_inner_alive or is_canonical):
            raise ConstraintFailed(f"token {token} is not allowed here")
        if self._inner is not None and is_inner_alive:
            self._inner.accept(token)
        return _State(
            phase=_Phase.START if is_opening else _Phase.ANSWER,
            text=text if is_opening else b"",
            num_opening=state.num_opening + 1 if is_canonical else -1,
            is_inner_alive=is_inner_alive,
        )

    def _thinking(self, thought: bytes = b"") -> _State:
        """The state once the opening of the thinking is complete. `thought` is what the last token
        has behind the opening."""
        end = thought.find(self._closing)
        if end >= 0:
            return self._answer(thought[end + len(self._closing) :])
        phase = _Phase.ENDING if self._limits.num_tokens == 0 else _Phase.THINKING
        return _State(phase, text=self._tail(thought))

    def _after_thought(self, state: _State, token: int) -> _State:
        text = state.text + self._vocabulary.pieces[token]
        end = text.find(self._closing)
        if end >= 0:
            return self._answer(text[end + len(self._closing) :])
        num_thought = state.num_thought + 1
        late = num_thought - self._limits.num_tokens
        is_over = self._limits.num_tokens >= 0 and late >= 0
        if is_over and (late >= len(self._closing) or not self._is_unfinished(text)):
            return _State(_Phase.ENDING)
        return replace(state, text=self._tail(text), num_thought=num_thought)

    def _tail(self, text: bytes) -> bytes:
        """The last bytes of a text, which the closing or a character could begin with."""
        return text[-(max(len(self._closing), MAX_BYTES) - 1) :]

    def _is_unfinished(self, text: bytes) -> bool:
        """Whether the thinking stops inside a character or inside its closing."""
        prefixes = (self._closing[:size] for size in range(1, len(self._closing)))
        return _ends_inside_character(text) or any(map(text.endswith, prefixes))

    def _after_end(self, state: _State, token: int) -> _State:
        end = self._constraint.end
        if token != end[state.num_ended]:
            raise ConstraintFailed(f"token {token} doesn't end the thinking")
        num_ended = state.num_ended + 1
        return self._answer(b"") if num_ended == len(end) else replace(state, num_ended=num_ended)

    def _answer(self, rest: bytes) -> _State:
        """The state after the thinking. `rest` is what the last token has behind the closing."""
        rest = rest.lstrip()
        if self._after is not None:
            self._inner = self._after.matcher(Begun(rest=rest))
        return _State(_Phase.ANSWER, has_thought=True, has_begun=bool(rest))


def _ends_inside_character(text: bytes) -> bool:
    """Whether the last character of UTF-8 text is incomplete."""
    for size in range(1, min(MAX_BYTES, len(text)) + 1):
        byte = text[-size]
        if byte >= 0xC0:  # the first of several bytes; its highest bits tell how many
            return size < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4)
        if byte < 0x80:
            return False
    return False
