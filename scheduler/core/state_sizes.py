"""How much host memory saved cells and checkpoints take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StateSizes:
    """Bytes of a sequence's state, by parts of the model's memory."""

    cell_bytes: int = 1
    """Of one token, in layers that keep every token."""
    state_bytes: int = 0
    """Of a sequence of any length, such as the state of recurrent layers."""
    window: int = 0
    """Number of latest tokens that layers with a sliding window keep."""
    window_cell_bytes: int = 0
    """Of one token in those layers."""

    @property
    def has_cells(self) -> bool:
        """Whether a saved prefix grows with its tokens, which a checkpoint does not."""
        return self.cell_bytes > 0

    def prefix(self, num_tokens: int) -> int:
        """Bytes of all that a sequence of `num_tokens` tokens holds."""
        return num_tokens * self.cell_bytes + self.checkpoint(num_tokens)

    def checkpoint(self, num_tokens: int) -> int:
        """Bytes of a checkpoint after `num_tokens` tokens."""
        return self.state_bytes + min(num_tokens, self.window) * self.window_cell_bytes
