"""What an answer to a chat may have, besides its text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOptions:
    """The optional parts of a choice, and how many tools it may call."""

    max_calls: int | None = None
    """Further calls are dropped. None means no limit."""
    with_logprobs: bool = False
    with_tokens: bool = False
    """List the ids of the tokens in the choice's field `tokens`."""
    timings_per_token: bool = False
