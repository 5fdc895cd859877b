"""Output constraints in the engine: from a `Constraint` and a vocabulary to a `Matcher`."""

from __future__ import annotations

import functools

from grammars.constraint import Constraint, GbnfGrammar, LazyConstraint, LLGuidanceGrammar
from scheduler.constraint.errors import ConstraintFailed
from scheduler.constraint.gbnf_matcher import GbnfMatcher
from scheduler.constraint.lazy_matcher import LazyMatcher
from scheduler.constraint.llguidance_matcher import LLGuidanceMatcher
from scheduler.constraint.matcher import Matcher
from scheduler.constraint.vocabulary import (
    DeferredVocabulary,
    TokenVocabulary,
    vocabulary_of_llama,
    vocabulary_of_pieces,
)

__all__ = [
    "ConstraintFailed",
    "DeferredVocabulary",
    "Matcher",
    "TokenVocabulary",
    "create_matcher",
    "vocabulary_of_llama",
    "vocabulary_of_pieces",
]


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
            start = functools.partial(create_matcher, inner, vocabulary)
            start()  # a grammar that can't be built should fail now, not at its trigger
            return LazyMatcher(constraint, vocabulary, start)
