"""Which tokens an answer that outgrows its slot leaves behind, so that it can go on.

    all tokens: | keep | discarded, in multiples of `discard` | the latest ........... |
    the window: | keep | the latest ........... |

What is discarded depends only on the number of tokens, so the window is the same whether it
was reached step by step or is rebuilt by an engine that takes over.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.commands import ContextShift

MIN_MOVING = 4
"""Tokens at the end of a slot that are never kept, whatever `keep` says."""


@dataclass(frozen=True, slots=True)
class Window:
    """How the tokens of one sequence move through a slot of `n_ctx` cells."""

    n_ctx: int
    keep: int
    """Tokens at the beginning that stay."""
    discard: int
    """Tokens that go at once; at least 1, and never all that aren't kept."""

    @classmethod
    def of(cls, shift: ContextShift, n_ctx: int) -> Window:
        """The request's wishes, brought into the bounds of the slot."""
        keep = max(min(shift.keep, n_ctx - MIN_MOVING), 0)
        moving = n_ctx + 1 - keep
        wanted = shift.discard or moving // 2
        return cls(n_ctx, keep, max(min(wanted, moving - 1), 1))

    def num_discarded(self, num_tokens: int) -> int:
        """Of so many tokens: how many lie behind the window."""
        excess = max(num_tokens - self.n_ctx, 0)
        return self.discard * -(-excess // self.discard)
