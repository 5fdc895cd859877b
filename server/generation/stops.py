"""Finds stop strings in text that arrives in pieces."""

from __future__ import annotations

import msgspec


class Cut(msgspec.Struct, frozen=True):
    """Text that is safe to send, and the stop string that ended it, if one did."""

    text: str
    stopping_word: str = ""


class StopMatcher:
    """Ends a text before the stop string that is complete first.

    If several stop strings end at the same place, the longest counts. So the result does not
    depend on how the text was cut into pieces.
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._stop = tuple(word for word in stop if word)
        self._held = ""
        """Text that may become a stop string."""

    def feed(self, text: str) -> Cut:
        """Add text."""
        if not self._stop:
            return Cut(text)
        text = self._held + text
        found = [(at + len(word), at, word) for word in self._stop if (at := text.find(word)) >= 0]
        if found:
            _, at, word = min(found)
            self._held = ""
            return Cut(text[:at], word)
        keep = self._possible_stop(text)
        self._held = text[len(text) - keep :]
        return Cut(text[: len(text) - keep])

    def finish(self) -> str:
        """Release what was held back: nothing follows."""
        rest, self._held = self._held, ""
        return rest

    def _possible_stop(self, text: str) -> int:
        """Length of the longest end of the text that begins a stop string."""
        length = 0
        for word in self._stop:
            for longer in range(min(len(word) - 1, len(text)), length, -1):
                if text.endswith(word[:longer]):
                    length = longer
                    break
        return length
