"""The one error of this package."""

from __future__ import annotations


class ConstraintFailed(Exception):
    """A constraint can't be enforced (any further): its sequence has to end as failed.

    Either the grammar is wrong in a way that only the vocabulary shows, or it grew past its
    limits, or a token was accepted that it doesn't allow. No other sequence is affected.
    """
