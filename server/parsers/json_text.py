"""Finds the end of a JSON object or list without parsing it."""

from __future__ import annotations

import re

_INSIDE = re.compile(r'["{}\[\]]')
_STRING = re.compile(r'[^"\\]*')


class JsonText:
    """Counts brackets outside strings; feed the text from the opening bracket on."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    @property
    def is_done(self) -> bool:
        """Whether the closing bracket has come, or no opening bracket has come yet."""
        return self._depth == 0

    @property
    def is_in_string(self) -> bool:
        """Whether a string has begun and not ended."""
        return self._in_string

    def feed_all(self, text: str) -> None:
        """Read text, whether the value ends in it or not."""
        while text:
            text = text[self.feed(text) :]

    def feed(self, text: str) -> int:
        """Read text and return how many of its characters belong to the value."""
        position = 0
        while position < len(text):
            if self._in_string:
                position = self._skip_string(text, position)
                continue
            match = _INSIDE.search(text, position)
            if match is None:
                return len(text)
            position = match.end()
            if match.group() == '"':
                self._in_string = True
            elif match.group() in "{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth <= 0:
                    self._depth = 0
                    return position
        return len(text)

    def _skip_string(self, text: str, position: int) -> int:
        if self._escaped:
            self._escaped = False
            return position + 1
        match = _STRING.match(text, position)
        position = match.end() if match else position
        if position < len(text):
            self._in_string = text[position] != '"'
            self._escaped = self._in_string
            position += 1
        return position
