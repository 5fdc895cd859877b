"""Text that ends at the first line which is indented less than wanted, for completions of code."""

from __future__ import annotations

import msgspec

from server.generation.detokenizer import Detokenizer, Released


class IndentedText(Detokenizer):
    """A `Detokenizer` whose text ends where a line begins with too few blanks.

    As in llama-server, the first line counts as indented, and an empty line does not. The line's
    own blanks stay in the text.
    """

    def __init__(self, least: int, stop: tuple[str, ...] = ()) -> None:
        """`least` is a number of spaces and tabs."""
        super().__init__(stop)
        self._least = least
        self._num_blanks: int | None = None
        """Blanks at the beginning of the line; None behind them, and in the first line."""

    def feed(self, piece: bytes) -> Released:
        """Add a token's bytes."""
        return self._cut(super().feed(piece))

    def finish(self) -> Released:
        """Release what was held back: nothing follows."""
        return self._cut(super().finish())

    def _cut(self, released: Released) -> Released:
        end = self._end_in(released.text)
        if end is None:
            return released
        self.num_released -= len(released.text) - end
        return msgspec.structs.replace(
            released, text=released.text[:end], stopping_word="", is_outdented=True
        )

    def _end_in(self, text: str) -> int | None:
        """The place of the first character of this text behind too few blanks."""
        for place, character in enumerate(text):
            if self._num_blanks is not None:
                if character in " \t":
                    self._num_blanks += 1
                    continue
                if self._num_blanks < self._least:
                    return place
                self._num_blanks = None
            if character == "\n":
                self._num_blanks = 0
        return None
