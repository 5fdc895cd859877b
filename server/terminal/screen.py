"""Shows an answer as it comes: thinking is dimmed, and nothing can move the cursor."""

from __future__ import annotations

import re
from typing import TextIO

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""A model could write what a terminal obeys. Newlines and tabs are harmless."""


class Screen:
    """Writes the parts of one answer after the other."""

    def __init__(self, out: TextIO, *, is_terminal: bool, colors: bool, thinking: bool) -> None:
        """What is no terminal gets the content alone, as it is."""
        self._out = out
        self._is_terminal = is_terminal
        self._colors = colors
        self._shows_thinking = thinking and is_terminal
        self._is_thinking = False
        self._last = "\n"

    def thinking(self, text: str) -> None:
        """Show a piece of the thinking."""
        if not self._shows_thinking or not text:
            return
        if not self._is_thinking:
            self._is_thinking = True
            self._write(_DIM if self._colors else "[thinking]\n")
        self._write(text, from_model=True)

    def content(self, text: str) -> None:
        """Show a piece of the answer."""
        if text:
            self._end_thinking()
            self._write(text, from_model=True)

    def end(self) -> None:
        """End the answer's last line."""
        self._end_thinking()
        if self._last != "\n":
            self._write("\n")

    def note(self, text: str) -> None:
        """Show a line of our own."""
        self.end()
        dim, plain = (_DIM, _PLAIN) if self._colors else ("", "")
        self._write(f"{dim}{text}{plain}\n")

    def _end_thinking(self) -> None:
        if self._is_thinking:
            self._is_thinking = False
            lines = "\n\n" if self._last != "\n" else "\n"
            self._write(lines if not self._colors else _PLAIN + lines)
            if not self._colors:
                self._write("[answer]\n")

    def _write(self, text: str, *, from_model: bool = False) -> None:
        if from_model and self._is_terminal:
            text = _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)
        if text:
            self._last = text[-1]
        self._out.write(text)
        self._out.flush()
