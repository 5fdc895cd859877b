"""The constraint compiler: makes matchers for the sequences of one model."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial

from confined.fair_thread import FairThread
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
from scheduler.constraint.prototypes import LARGE_CHARS, MAX_CHARS, Prototype, Prototypes
from scheduler.constraint.shortest import shortest_length
from scheduler.constraint.thinking_matcher import ThinkingMatcher
from scheduler.constraint.triggers import Triggers
from scheduler.constraint.vocabulary import (
    TokenVocabulary,
    vocabulary_of_llama,
)
from scheduler.native.free_memory import give_memory_back


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
            start = create_matcher(inner, vocabulary).clone
            triggers = Triggers(
                vocabulary,
                start,
                words=constraint.words,
                tokens=constraint.tokens,
                keeps_trigger=constraint.keep_trigger,
            )
            return LazyMatcher(vocabulary, triggers)
        case ThinkingConstraint(constraint=after):
            if after is None:
                return ThinkingMatcher(constraint, vocabulary, None)
            follower = create_matcher(after, vocabulary)
            shortest = shortest_length(follower.clone(), vocabulary) if constraint.room >= 0 else 0
            end = _end_of_thinking(constraint, vocabulary, follower)
            return ThinkingMatcher(constraint, vocabulary, end, shortest)


def _end_of_thinking(
    constraint: ThinkingConstraint, vocabulary: TokenVocabulary, follower: Matcher
) -> Triggers:
    """The closing of the thinking as a trigger. `follower` is the matcher of what comes after."""
    words = (constraint.closing,)
    return Triggers(vocabulary, follower.clone, words=words, drops_space=True)


class ConstraintCompiler:
    """Makes matchers for the model whose `llama_vocab` lies at an address.

    The vocabulary's index is built on the first constrained request, or in a thread after
    `start`. A known constraint costs microseconds: its matcher is a copy of a kept one that has
    accepted nothing. All copies share one automaton, which grows as it is used.

    Large constraints have a thread of their own, so that others never wait for them. They wait
    there while those in use leave no memory for them.
    """

    def __init__(self, llama_vocab: int) -> None:
        self._vocabulary = DeferredVocabulary(lambda: vocabulary_of_llama(llama_vocab))
        self._prototypes = Prototypes()
        self._small = FairThread("constraints")
        self._large = FairThread("large-constraints")

    def start(self) -> None:
        """Begin to index the vocabulary in a thread."""
        self._vocabulary.start()

    def prepare(self, constraint: Constraint, owner: str = "") -> Future[Matcher]:
        """Make a matcher in a thread, in which owners take turns.

        The matcher of a known constraint is ready at once. The future's result or exception is that
        of `matcher`. A future that is cancelled in time costs nothing.
        """
        if self._is_known(constraint):
            known: Future[Matcher] = Future()
            known.set_result(self.matcher(constraint))
            return known
        build = partial(self._build, constraint)
        if len(_definition(constraint)) <= LARGE_CHARS:
            return self._small.submit(owner, build)
        has_room = partial(self._prototypes.has_room, _shared(constraint))
        return self._large.submit(owner, build, has_room)

    def give_memory_back(self, least: int = 1) -> None:
        """Return the memory of large constraints that were dropped to the system, if their
        definitions have at least so many characters."""
        if self._prototypes.take_freed(least):
            give_memory_back()

    def close(self) -> None:
        """Wait for the threads. They read the model's vocabulary, which may be freed afterwards."""
        self._small.close()
        self._large.close()
        self._vocabulary.finish()

    def matcher(self, constraint: Constraint) -> Matcher:
        """Return a matcher that has accepted nothing yet. Raises `ConstraintFailed`."""
        vocabulary = self._vocabulary.get()
        shared = _shared(constraint)
        prototype = self._prototypes.get(shared)
        if prototype is None:
            built = create_matcher(shared, vocabulary)
            prototype = Prototype(built, len(_definition(shared)))
            self._prototypes.add(shared, prototype)
        matcher = self._matcher(constraint, prototype, vocabulary)
        self._prototypes.use(shared, prototype, matcher)
        return matcher

    def _matcher(
        self, constraint: Constraint, prototype: Prototype, vocabulary: TokenVocabulary
    ) -> Matcher:
        """A copy of the prototype, after the thinking if there is any."""
        copy = self._prototypes.copy
        if not isinstance(constraint, ThinkingConstraint) or constraint.constraint is None:
            return copy(prototype)
        if _has_room(constraint) and prototype.shortest is None:
            prototype.shortest = shortest_length(copy(prototype), vocabulary)
        if constraint.closing not in prototype.ends:
            end = _end_of_thinking(constraint, vocabulary, copy(prototype))
            prototype.ends[constraint.closing] = end
        end = prototype.ends[constraint.closing]
        return ThinkingMatcher(constraint, vocabulary, end, prototype.shortest or 0)

    def _is_known(self, constraint: Constraint) -> bool:
        """Whether a matcher needs nothing but a copy."""
        known = self._prototypes.get(_shared(constraint))
        if known is None:
            return False
        if not isinstance(constraint, ThinkingConstraint) or constraint.constraint is None:
            return True
        is_measured = known.shortest is not None or not _has_room(constraint)
        return is_measured and constraint.closing in known.ends

    def _build(self, constraint: Constraint) -> Matcher:
        matcher = self.matcher(constraint)
        self.give_memory_back(MAX_CHARS)
        return matcher


def _shared(constraint: Constraint) -> Constraint:
    """The part of a constraint that many requests share: what follows the thinking."""
    if isinstance(constraint, ThinkingConstraint) and constraint.constraint is not None:
        return constraint.constraint
    return constraint


def _definition(constraint: Constraint) -> str:
    """The text from which a constraint is built; "" if nothing is required."""
    match constraint:
        case LLGuidanceGrammar(definition=text) | GbnfGrammar(text=text):
            return text
        case LazyConstraint(inner) | ThinkingConstraint(constraint=inner):
            return "" if inner is None else _definition(inner)


def _has_room(constraint: Constraint) -> bool:
    """Whether the thinking must end in time for a constraint."""
    if not isinstance(constraint, ThinkingConstraint) or constraint.constraint is None:
        return False
    return constraint.room >= 0
