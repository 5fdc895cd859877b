"""Output constraints: makes a `Matcher` of a `Constraint` and a vocabulary."""

from scheduler.constraint.compiler import ConstraintCompiler, create_matcher
from scheduler.constraint.deferred_vocabulary import DeferredVocabulary
from scheduler.constraint.errors import ConstraintFailed, ConstraintTooComplex
from scheduler.constraint.matcher import Matcher
from scheduler.constraint.vocabulary import (
    TokenVocabulary,
    vocabulary_of_llama,
)

__all__ = [
    "ConstraintCompiler",
    "ConstraintFailed",
    "ConstraintTooComplex",
    "DeferredVocabulary",
    "Matcher",
    "TokenVocabulary",
    "create_matcher",
    "vocabulary_of_llama",
]
