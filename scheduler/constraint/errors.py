"""The error of this package."""

from __future__ import annotations


class ConstraintFailed(Exception):
    """A constraint can't be enforced, or not any further. Its sequence must end as failed.

    There are three reasons: the grammar can't be used with this vocabulary, the automaton grew
    past its limits, or a token was accepted that is not allowed. No other sequence is affected.
    """


class ConstraintTooComplex(ConstraintFailed):
    """The automaton of a constraint grew past its limits."""
