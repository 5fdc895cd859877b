"""The window of tokens that stays in a slot while an answer outgrows it.

    all tokens: | keep | discarded, in multiples of `discard` | the latest ........... |
    the window: | keep | the latest ........... |

As in llama-server, a sequence with a window leaves one cell of its slot free. What is discarded
depends only on the number of tokens. So an engine that takes over a request rebuilds the same
window that another engine reached step by step.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.commands import MOST_SHIFTS, ContextShift

MIN_MOVING = 4
"""At least this many cells of a slot are for tokens that move, however large `keep` is."""


@dataclass(frozen=True, slots=True)
class Window:
    """How the tokens of one sequence move through a slot. Counts are tokens."""

    size: int
    """The most tokens that stay."""
    keep: int
    """How many tokens at the beginning stay."""
    discard: int
    """How many tokens leave at once: at least 1, and at most all that are not kept."""

    @classmethod
    def of(cls, shift: ContextShift, n_ctx: int) -> Window:
        """The window that a request asks for, within the bounds of a slot of `n_ctx` cells."""
        size = max(n_ctx - 1, 1)
        least = n_ctx // MOST_SHIFTS
        keep = max(min(shift.keep, n_ctx - max(MIN_MOVING, 2 * least)), 0)
        moving = size - keep
        wanted = max(shift.discard or moving // 2, least)
        return cls(size, keep, max(min(wanted, moving), 1))

    def num_discarded(self, num_tokens: int) -> int:
        """How many of a sequence's `num_tokens` tokens have left the window."""
        excess = max(num_tokens - self.size, 0)
        return self.discard * -(-excess // self.discard)
