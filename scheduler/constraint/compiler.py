"""The constraint compiler: makes matchers for the sequences of one model."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import msgspec

from grammars.constraint import (
    Constraint,
    GbnfGrammar,
    LazyConstraint,
    LLGuidanceGrammar,
    ThinkingConstraint,
)
from scheduler.constraint.deferred_vocabulary import DeferredVocabulary
from scheduler.constraint.gbnf_matcher import GbnfMatcher
from scheduler.constraint.lazy_matcher import LazyMatcher
from scheduler.constraint.llguidance_matcher import LLGuidanceMatcher
from scheduler.constraint.matcher import Matcher
from scheduler.constraint.shortest import shortest_length
from scheduler.constraint.thinking_matcher import ThinkingMatcher
from scheduler.constraint.vocabulary import (
    TokenVocabulary,
    vocabulary_of_llama,
)

MAX_PROTOTYPES = 16
"""Constraints whose matchers are kept. One usually takes about 100 kB; the worst take 50 MB."""

MAX_PROTOTYPE_BYTES = 2 << 20
"""Bytes of these constraints' definitions. A matcher takes up to 40 times the memory of its
definition."""


def create_matcher(constraint: Constraint, vocabulary: TokenVocabulary) -> Matcher:
    """Build the matcher of one sequence.

    That takes about 1 ms for a usual schema, and hundreds of ms for the largest that is allowed.
    Thread-safe; most of the work releases the GIL. Raises `ConstraintFailed`.
    """
    match constraint:
        case LLGuidanceGrammar():
            return LLGuidanceMatcher(constraint, vocabulary)
        case GbnfGrammar(text):
            return GbnfMatcher(text, vocabulary)
        case LazyConstraint(inner):
            # Built now: at its trigger, all sequences would wait for it, and it could fail.
            return LazyMatcher(constraint, vocabulary, create_matcher(inner, vocabulary).clone)
        case ThinkingConstraint(constraint=after):
            if after is None:
                return ThinkingMatcher(constraint, vocabulary, None)
            follower = create_matcher(after, vocabulary)
            shortest = shortest_length(follower.clone(), vocabulary) if constraint.room >= 0 else 0
            return ThinkingMatcher(constraint, vocabulary, follower.clone, shortest)


@dataclass(slots=True)
class _Prototype:
    """A matcher that has accepted nothing."""

    matcher: Matcher
    num_bytes: int
    """Of the constraint's definition."""
    shortest: int | None = None
    """Tokens of a short answer; None until a request asks."""


class ConstraintCompiler:
    """Makes matchers for the model whose `llama_vocab` lies at an address.

    The vocabulary's index is built on the first constrained request, or in a thread after
    `start`. A known constraint costs microseconds: its matcher is a copy of a kept one that has
    accepted nothing. All copies share one automaton, which grows as it is used.
    """

    def __init__(self, llama_vocab: int) -> None:
        self._vocabulary = DeferredVocabulary(lambda: vocabulary_of_llama(llama_vocab))
        self._prototypes: dict[Constraint, _Prototype] = {}
        self._lock = Lock()
        self._builder = ThreadPoolExecutor(1, "constraints")

    def start(self) -> None:
        """Begin to index the vocabulary in a thread."""
        self._vocabulary.start()

    def prepare(self, constraint: Constraint) -> Future[Matcher] | None:
        """Make a matcher in a thread. The future's result or exception is that of `matcher`.

        A large grammar takes up to some seconds, and no other sequence should wait for it.
        Returns None if the constraint is known already.
        """
        with self._lock:
            known = self._prototypes.get(_shared(constraint))
        if known is not None and not (_has_room(constraint) and known.shortest is None):
            return None
        return self._builder.submit(self.matcher, constraint)

    def close(self) -> None:
        """Wait for the threads. They read the model's vocabulary, which may be freed afterwards."""
        self._builder.shutdown(cancel_futures=True)
        self._vocabulary.finish()

    def matcher(self, constraint: Constraint) -> Matcher:
        """Return a matcher that has accepted nothing yet. Raises `ConstraintFailed`."""
        vocabulary = self._vocabulary.get()
        prototype = self._prototype(_shared(constraint), vocabulary)
        if not isinstance(constraint, ThinkingConstraint) or constraint.constraint is None:
            return self._copy(prototype)
        if _has_room(constraint) and prototype.shortest is None:
            prototype.shortest = shortest_length(self._copy(prototype), vocabulary)
        inner = self._copy(prototype)
        return ThinkingMatcher(constraint, vocabulary, inner.clone, prototype.shortest or 0)

    def _prototype(self, constraint: Constraint, vocabulary: TokenVocabulary) -> _Prototype:
        with self._lock:
            prototype = self._prototypes.pop(constraint, None)
        if prototype is None:
            num_bytes = len(msgspec.msgpack.encode(constraint))
            prototype = _Prototype(create_matcher(constraint, vocabulary), num_bytes)
        with self._lock:
            self._prototypes[constraint] = prototype  # moves to the end, among the latest
            self._drop_oldest()
        return prototype

    def _drop_oldest(self) -> None:
        """Keep the latest prototypes within the bounds, and the very latest in any case."""
        kept = self._prototypes
        num_bytes = sum(prototype.num_bytes for prototype in kept.values())
        while len(kept) > MAX_PROTOTYPES or (num_bytes > MAX_PROTOTYPE_BYTES and len(kept) > 1):
            num_bytes -= kept.pop(next(iter(kept))).num_bytes

    def _copy(self, prototype: _Prototype) -> Matcher:
        with self._lock:
            return prototype.matcher.clone()


def _shared(constraint: Constraint) -> Constraint:
    """The part of a constraint that many requests share: what follows the thinking."""
    if isinstance(constraint, ThinkingConstraint) and constraint.constraint is not None:
        return constraint.constraint
    return constraint


def _has_room(constraint: Constraint) -> bool:
    """Whether the thinking must end in time for a constraint."""
    if not isinstance(constraint, ThinkingConstraint) or constraint.constraint is None:
        return False
    return constraint.room >= 0
