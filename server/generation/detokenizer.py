"""Turns bytes of tokens into text that can be sent: whole characters, without stop strings."""

from __future__ import annotations

import codecs

import msgspec

from server.generation.stops import StopMatcher
from server.parsers.events import AnswerEvent

Span = tuple[int, int]
"""The first character of a part of an answer's text, and the character after its last."""


class Released(msgspec.Struct, frozen=True):
    """Text that is safe to send, and the stop string that ended it, if one did."""

    text: str
    stopping_word: str = ""
    events: tuple[AnswerEvent, ...] = ()
    """What the answer's parser made of the text, if there is a parser."""
    content: tuple[Span, ...] = ()
    """Where the content among the events lies in the text."""
    is_outdented: bool = False
    """Whether the text ended because a line has too few blanks at its beginning."""


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
        self._stops = StopMatcher(stop)
        self._bytes = b""
        """The beginning of a character."""
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
        rest = self._stops.finish()
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
        cut = self._stops.feed(new)
        self.num_released += len(cut.text)
        return Released(cut.text, cut.stopping_word)
