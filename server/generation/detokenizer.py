"""Turns bytes of tokens into text that can be sent: whole characters, without stop strings."""

from __future__ import annotations

import codecs

import msgspec


class Released(msgspec.Struct, frozen=True):
    """Text that is safe to send, and the stop string that ended it, if one did."""

    text: str
    stopping_word: str = ""


class Detokenizer:
    """Assembles one answer.

        all text:  | released .......... | held |
                                          an incomplete character, or what may
                                          become a stop string

    Bytes that are no UTF-8 become U+FFFD. The text ends before the stop string that is complete
    first. If several end at the same place, the longest counts. So the text does not depend on
    how it was cut into tokens.
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._stop = tuple(word for word in stop if word)
        self._bytes = b""
        """The beginning of a character."""
        self._held = ""
        """Text that may become a stop string."""
        self.num_received = 0
        """Characters of all text so far."""
        self.num_released = 0
        """Characters that were handed out."""

    def feed(self, piece: bytes) -> Released:
        """Add a token's bytes."""
        return self._take(self._decode(piece))

    def finish(self) -> Released:
        """Release what was held back: nothing follows."""
        released = self._take(self._decode(b"", final=True))
        rest, self._held = self._held, ""
        self.num_released += len(rest)
        return Released(released.text + rest, released.stopping_word)

    def _decode(self, piece: bytes, *, final: bool = False) -> str:
        # codecs' own incremental decoder does the same; written in Python, it takes longer.
        data = self._bytes + piece
        text, length = codecs.utf_8_decode(data, "replace", final)
        self._bytes = data[length:]
        return text

    def _take(self, new: str) -> Released:
        self.num_received += len(new)
        released = self._release(self._held + new)
        self.num_released += len(released.text)
        return released

    def _release(self, text: str) -> Released:
        if not self._stop:
            return Released(text)
        found = [(at + len(word), at, word) for word in self._stop if (at := text.find(word)) >= 0]
        if found:
            _, at, word = min(found)
            self._held = ""
            return Released(text[:at], word)
        keep = self._possible_stop(text)
        self._held = text[len(text) - keep :]
        return Released(text[: len(text) - keep])

    def _possible_stop(self, text: str) -> int:
        """Length of the longest end of the text that begins a stop string."""
        longest = max(map(len, self._stop)) - 1
        for length in range(min(longest, len(text)), 0, -1):
            end = text[-length:]
            if any(word.startswith(end) for word in self._stop):
                return length
        return 0
