"""Matchers for the sequences of one model."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from grammars.constraint import (
    Constraint,
    GbnfGrammar,
    LazyConstraint,
    LLGuidanceGrammar,
    ThinkingConstraint,
)
from scheduler.constraint.gbnf_matcher import GbnfMatcher
from scheduler.constraint.lazy_matcher import LazyMatcher
from scheduler.constraint.llguidance_matcher import LLGuidanceMatcher
from scheduler.constraint.matcher import Matcher
from scheduler.constraint.thinking_matcher import ThinkingMatcher
from scheduler.constraint.vocabulary import (
    DeferredVocabulary,
    TokenVocabulary,
    vocabulary_of_llama,
)

MAX_PROTOTYPES = 16
"""Constraints that are kept ready. Usually some 100 kB each; the worst have automata of 50 MB."""


def create_matcher(constraint: Constraint, vocabulary: TokenVocabulary) -> Matcher:
    """Build the matcher of one sequence; 1 ms for a usual schema, 100s for the largest allowed.

    Thread-safe, and without the GIL for most of the time. Raises `ConstraintFailed`.
    """
    match constraint:
        case LLGuidanceGrammar(definition):
            return LLGuidanceMatcher(definition, vocabulary)
        case GbnfGrammar(text):
            return GbnfMatcher(text, vocabulary)
        case LazyConstraint(inner):
            # Built now: at its trigger it could fail, and everybody would wait for it.
            return LazyMatcher(constraint, vocabulary, create_matcher(inner, vocabulary).clone)
        case ThinkingConstraint(constraint=after):
            start = None if after is None else create_matcher(after, vocabulary).clone
            return ThinkingMatcher(constraint, vocabulary, start)


class ConstraintCompiler:
    """Makes matchers for the model whose `llama_vocab` lies at an address.

    The vocabulary's index is built on the first constrained request, or in a thread after
    `start`. A constraint that was seen before costs microseconds: its matcher is copied from one
    that has consumed nothing, and shares that one's automaton, which grows as it is used.
    """

    def __init__(self, llama_vocab: int) -> None:
        self._vocabulary = DeferredVocabulary(lambda: vocabulary_of_llama(llama_vocab))
        self._prototypes: dict[Constraint, Matcher] = {}
        self._lock = Lock()
        self._builder = ThreadPoolExecutor(1, "constraints")

    def start(self) -> None:
        """Begin to index the vocabulary in a thread."""
        self._vocabulary.start()

    def prepare(self, constraint: Constraint) -> Future[Matcher] | None:
        """Make the matcher in a thread; its result, or exception, is that of `matcher`.

        A large grammar takes up to some seconds, which no other sequence should wait for. None
        where nothing has to be made.
        """
        with self._lock:
            if constraint in self._prototypes:
                return None
        return self._builder.submit(self.matcher, constraint)

    def close(self) -> None:
        """Wait for the threads, which look at the model's vocabulary: it may be freed then."""
        self._builder.shutdown(cancel_futures=True)
        self._vocabulary.finish()

    def matcher(self, constraint: Constraint) -> Matcher:
        """Return a matcher that has consumed nothing yet. Raises `ConstraintFailed`."""
        with self._lock:
            prototype = self._prototypes.pop(constraint, None)
        if prototype is None:
            prototype = create_matcher(constraint, self._vocabulary.get())
        with self._lock:
            self._prototypes[constraint] = prototype  # the last is the one used most recently
            if len(self._prototypes) > MAX_PROTOTYPES:
                del self._prototypes[next(iter(self._prototypes))]
            return prototype.clone()
