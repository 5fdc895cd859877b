"""Reads calls out of JSON that arrives in pieces, and passes arguments on as they come.

A call is an object with a name and arguments, at any depth: alone, in a list, inside
`{"tool_calls": […]}` or `{"function": {…}}`. The scanner doesn't parse arguments; it only finds
their end. So the client gets exactly what the model wrote.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from server.parsers.events import AnswerEvent, CallArguments, CallStarted

NAME_KEYS = frozenset({"name", "tool_name", "function"})
ARGUMENT_KEYS = frozenset({"arguments", "parameters"})
CALL_KEYS = NAME_KEYS | ARGUMENT_KEYS | {"tool_calls", "type", "id", "tool_call_id", "index"}
"""Keys that a call may have; any other key shows that the JSON is something else."""

_STRING_REST = re.compile(r'[^"\\]*')
_STRUCTURE = re.compile(r'["{}\[\],:]')


@dataclass(slots=True)
class _Frame:
    """An object or a list that is still open."""

    is_object: bool
    wants_key: bool
    key: str = ""
    name: str | None = None
    is_started: bool = False
    early_arguments: list[str] = field(default_factory=list)
    """Arguments that came before the name of their call."""


class JsonCalls:
    """Scans one JSON value; feed the value from its first character on."""

    def __init__(self) -> None:
        self.is_done = False
        """Whether the value has ended."""
        self.is_foreign = False
        """Whether the value isn't JSON, or has a key that no call has."""
        self._frames: list[_Frame] = []
        self._string: list[str] | None = None
        self._escaped = False
        self._arguments_depth = 0
        """Number of open frames outside the arguments that are being read; 0 if none are being
        read."""

    def feed(self, text: str) -> tuple[list[AnswerEvent], int]:
        """Read text; return the events that became certain, and how many characters belong to the
        value."""
        events: list[AnswerEvent] = []
        position = copied = 0
        while position < len(text) and not self.is_done and not self.is_foreign:
            was_inside = self._arguments_depth
            if self._string is not None:
                position = self._scan_string(text, position, events)
            else:
                position = self._scan_structure(text, position, events)
            if was_inside and not self._arguments_depth:
                self._pass_arguments(text[copied:position], events)
            elif self._arguments_depth and not was_inside:
                copied = position - 1
        if self._arguments_depth:
            self._pass_arguments(text[copied:], events)
        return events, position

    def _scan_string(self, text: str, start: int, events: list[AnswerEvent]) -> int:
        """Scan to the end of a string or of the text; return the new position."""
        assert self._string is not None
        position = start
        if self._escaped:
            self._escaped = False
            position += 1
        while position < len(text):
            match = _STRING_REST.match(text, position)
            position = match.end() if match else position
            if position == len(text):
                break
            if text[position] == '"':
                self._keep_string(text[start:position])
                self._end_string(events)
                return position + 1
            self._escaped = position + 1 == len(text)
            position += 2
        self._keep_string(text[start:])
        return len(text)

    def _keep_string(self, text: str) -> None:
        if self._string is not None and not self._arguments_depth:
            self._string.append(text)

    def _end_string(self, events: list[AnswerEvent]) -> None:
        raw = "".join(self._string or ())
        self._string = None
        if self._arguments_depth:
            return
        try:
            value = json.loads(f'"{raw}"', strict=False)
        except ValueError:
            self.is_foreign = True
            return
        frame = self._frames[-1] if self._frames else None
        if frame is None:
            self.is_foreign = True
        elif frame.is_object and frame.wants_key:
            frame.key = value
            self.is_foreign = value not in CALL_KEYS
        elif frame.is_object and frame.key in NAME_KEYS and frame.name is None:
            self._named(frame, value, events)
        elif frame.is_object and frame.key in ARGUMENT_KEYS:
            self._give(frame, value, events)

    def _scan_structure(self, text: str, start: int, events: list[AnswerEvent]) -> int:
        """Scan to the next quote, bracket, comma or colon; return the position after it."""
        if not self._frames:
            return self._scan_opening(text, start)
        match = _STRUCTURE.search(text, start)
        if match is None:
            return len(text)
        char = match.group()
        if char == '"':
            self._string = []
        elif char in "{[":
            self._open(char)
        elif char in "}]":
            self._close(events)
        elif not self._arguments_depth:
            self._frames[-1].wants_key = self._frames[-1].is_object and char == ","
        return match.end()

    def _scan_opening(self, text: str, start: int) -> int:
        char = text[start]
        if char in "{[":
            self._open(char)
        elif not char.isspace():
            self.is_foreign = True
            return start
        return start + 1

    def _open(self, char: str) -> None:
        outer = self._frames[-1] if self._frames else None
        is_value = outer is not None and outer.is_object and not outer.wants_key
        if is_value and outer is not None and outer.key in ARGUMENT_KEYS:
            self._arguments_depth = self._arguments_depth or len(self._frames)
        self._frames.append(_Frame(is_object=char == "{", wants_key=char == "{"))

    def _close(self, events: list[AnswerEvent]) -> None:
        frame = self._frames.pop()
        if self._arguments_depth:
            if len(self._frames) == self._arguments_depth:
                self._arguments_depth = 0
            return
        if frame.name is not None and not frame.is_started:
            self._start(frame, frame.name, events)
        self.is_done = not self._frames

    def _pass_arguments(self, text: str, events: list[AnswerEvent]) -> None:
        if not text:
            return
        depth = self._arguments_depth or len(self._frames)
        self._give(self._frames[depth - 1], text, events)

    def _give(self, frame: _Frame, text: str, events: list[AnswerEvent]) -> None:
        frame.early_arguments.append(text)
        if frame.name is not None:
            self._start(frame, frame.name, events)

    def _named(self, frame: _Frame, name: str, events: list[AnswerEvent]) -> None:
        frame.name = name
        if frame.early_arguments:
            self._start(frame, name, events)

    def _start(self, frame: _Frame, name: str, events: list[AnswerEvent]) -> None:
        """Report the call, unless it was reported before, and the arguments that have come
        already."""
        if not frame.is_started:
            frame.is_started = True
            events.append(CallStarted(name))
            if not frame.early_arguments:
                frame.early_arguments.append("{}")
        events.append(CallArguments("".join(frame.early_arguments)))
        frame.early_arguments.clear()
