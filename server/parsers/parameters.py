"""Parses calls with one element per parameter: `<function=f><parameter=key>value</parameter>…`."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.parsers.arguments import declared_arguments
from server.parsers.events import AnswerEvent, CallArguments, CallStarted, Content
from server.parsers.json_text import JsonText
from server.parsers.scanner import MarkerScanner, SpaceHolder
from server.parsers.sorted_texts import SortedTexts


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterMarks:
    """The texts around the parts of such calls.

        opening (function NAME name_end (key KEY key_end value VALUE value_end)… end)… closing

    Without `function`, the name follows the opening, and `end` closes the opening as well. A name
    may end where the first parameter begins. White space between the parts has no meaning. Between
    `key_end` and `value`, an attribute may say whether the value is a text.
    """

    opening: str
    function: str
    name_end: str
    key: str
    key_end: str
    value: str = ""
    value_end: str
    end: str
    closing: str


class _State(enum.Enum):
    TEXT = enum.auto()
    SECTION = enum.auto()
    NAME = enum.auto()
    BODY = enum.auto()
    KEY = enum.auto()
    GAP = enum.auto()
    VALUE = enum.auto()


class ParameterCalls:
    """Text in which tools are called parameter by parameter; values that are texts are streamed."""

    def __init__(self, marks: ParameterMarks, schemas: Mapping[str, Mapping[str, Any]]) -> None:
        """`schemas` describe the tools' arguments, and tell texts from other values."""
        self._marks = marks
        self._schemas = schemas
        self._scanners = _scanners(marks)
        self._text = SpaceHolder()
        self._state = _State.TEXT
        self._held: list[str] = []
        self._key = ""
        self._arguments = declared_arguments({})
        self._names = SortedTexts(())
        """Of the parameters of the tool that is called."""
        self._writer = _ArgumentsWriter()

    def feed(self, text: str) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        while text:
            if self._state is _State.KEY:
                text = self._feed_key(text)
                continue
            before, marker, text = self._scanners[self._state].feed(text)
            self._take(before, events)
            if marker is None:
                continue
            if self._state is _State.VALUE:
                text = self._end_value(marker, events) + text
            else:
                self._handle_mark(marker, events)
        return events

    def finish(self) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        while self._state is _State.VALUE and self._writer.is_doubtful:
            self._take(self._scanners[self._state].flush(), events)
            events += self.feed(self._writer.undo())
        if self._state is not _State.KEY:
            self._take(self._scanners[self._state].flush(), events)
        if self._state is _State.BODY:
            events.append(CallArguments(self._writer.end()))
        space = self._text.flush() if self._state is _State.TEXT else ""
        return [*events, Content(space)] if space else events

    def _take(self, text: str, events: list[AnswerEvent]) -> None:
        """Process text between two marks."""
        if self._state is _State.TEXT:
            text = self._text.feed(text)
            if text:
                events.append(Content(text))
        elif self._state is _State.VALUE:
            written = self._writer.value(text)
            if written:
                events.append(CallArguments(written))
        elif self._state in (_State.NAME, _State.GAP):
            self._held.append(text)

    def _feed_key(self, text: str) -> str:
        """Read a parameter's name; return the text after its end mark.

        The name of a declared parameter may contain the end mark.
        """
        held, end = "".join(self._held) + text, self._marks.key_end
        self._held = [held]
        size = held.find(end)
        if size < 0:
            return ""
        names = [name + end for name in self._names.beginning_with(held[:size] + end)]
        found = max((name for name in names if held.startswith(name)), key=len, default=None)
        if any(name.startswith(held) and len(name) > len(held) for name in names):
            return ""  # more text tells which name it is
        self._key = held[:size] if found is None else found[: -len(end)]
        self._held.clear()
        if self._key not in self._arguments.names:
            self._key = self._key.partition('"')[0].strip()
        self._state = _State.GAP if self._marks.value else _State.VALUE
        if self._state is _State.VALUE:
            self._writer.key(self._key, is_text=self._arguments.is_text(self._key))
        return held[len(found) if found is not None else size + len(end) :]

    def _end_value(self, marker: str, events: list[AnswerEvent]) -> str:
        """Process the mark at the end of a value; return text that has to be read again.

        In a JSON string, the mark may be a part of the value.
        """
        if self._writer.doubts(marker):
            return ""
        if self._writer.is_wrong:
            return self._writer.undo() + marker
        events.append(CallArguments(self._writer.end_value()))
        self._state = _State.BODY
        return ""

    def _handle_mark(self, marker: str, events: list[AnswerEvent]) -> None:
        """Process a mark, which ends one part and begins another."""
        marks, state = self._marks, self._state
        if state is _State.TEXT:
            self._text.drop()
            self._state = _State.SECTION if marks.function else _State.NAME
        elif state is _State.SECTION:
            self._state = _State.NAME if marker == marks.function else _State.TEXT
        elif state is _State.GAP:
            is_text = self._arguments.is_text(self._key)
            attributes = "".join(self._held)
            if 'string="' in attributes:
                is_text = 'string="true"' in attributes
            self._writer.key(self._key, is_text=is_text)
            self._state = _State.VALUE
        else:
            self._handle_mark_in_function(marker, events)
        self._held.clear()

    def _handle_mark_in_function(self, marker: str, events: list[AnswerEvent]) -> None:
        """Process a mark after the name or after a parameter."""
        marks = self._marks
        if self._state is _State.NAME:
            name = "".join(self._held).strip()
            events.append(CallStarted(name))
            self._arguments = declared_arguments(self._schemas.get(name, {}))
            self._names = SortedTexts(self._arguments.names)
            self._writer = _ArgumentsWriter()
        if marker == marks.key:
            self._state = _State.KEY
        elif marker == marks.end:
            events.append(CallArguments(self._writer.end()))
            self._state = _State.SECTION if marks.function else _State.TEXT
        else:
            self._state = _State.BODY


def _scanners(marks: ParameterMarks) -> dict[_State, MarkerScanner]:
    name_ends = {marks.name_end, marks.key, marks.end}
    return {
        _State.TEXT: MarkerScanner(marks.opening),
        _State.SECTION: MarkerScanner(marks.function or marks.closing, marks.closing),
        _State.NAME: MarkerScanner(*name_ends),
        _State.BODY: MarkerScanner(marks.key, marks.end),
        _State.GAP: MarkerScanner(marks.value or marks.key_end),
        _State.VALUE: MarkerScanner(marks.value_end),
    }


class _ArgumentsWriter:
    """Writes the arguments of one call as JSON, piece by piece."""

    def __init__(self) -> None:
        self._opening = "{"
        self._is_text = False
        self._has_begun = False
        self._held = ""
        self._json = JsonText()
        self._sure_length: int | None = None
        """Length of the value before the first end mark that may be a part of the value."""
        self._is_sure = False
        """Whether the next end mark ends the value, whatever stands before it."""

    def key(self, key: str, *, is_text: bool) -> None:
        """Begin a parameter."""
        self._is_text = is_text
        self._opening += json.dumps(key, ensure_ascii=False) + ": " + ('"' if is_text else "")
        self._has_begun = False
        self._held = ""
        self._json = JsonText()
        self._sure_length, self._is_sure = None, False

    def value(self, text: str) -> str:
        """Take more of the value; return the JSON that can be written already."""
        self._held += text
        if not self._is_text:
            self._json.feed_all(text)
            return ""
        if self._held and not self._has_begun:
            self._has_begun = True
            self._held = self._held.removeprefix("\n")
        ready = self._held.removesuffix("\n")
        if not ready:
            return ""
        self._held = self._held[len(ready) :]
        return self._take_opening() + json.dumps(ready, ensure_ascii=False)[1:-1]

    @property
    def is_doubtful(self) -> bool:
        """Whether the value contains an end mark, and hasn't ended yet."""
        return self._sure_length is not None

    @property
    def is_wrong(self) -> bool:
        """Whether the value contains an end mark, and isn't JSON."""
        return self._sure_length is not None and _is_no_json(self._held)

    def doubts(self, marker: str) -> bool:
        """Take an end mark as a part of the value, if the value is inside a JSON string."""
        begins_json = self._held.lstrip()[:1] in ('"', "{", "[")
        if self._is_text or self._is_sure or not (begins_json and self._json.is_in_string):
            return False
        if self._sure_length is None:
            self._sure_length = len(self._held)
        self.value(marker)
        return True

    def undo(self) -> str:
        """Give back the text from the first doubtful end mark on, which was the real end."""
        length = self._sure_length or 0
        self._held, rest = self._held[:length], self._held[length:]
        self._sure_length, self._is_sure = None, True
        return rest

    def end_value(self) -> str:
        """Return the rest of the value, without the line break before the end mark."""
        opening = self._take_opening()
        self._opening = ", "
        return opening + ('"' if self._is_text else _as_json(self._held.strip()))

    def end(self) -> str:
        """Return the end of the object."""
        return "{}" if self._opening.startswith("{") else "}"

    def _take_opening(self) -> str:
        opening, self._opening = self._opening, ""
        return opening


_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}


def _as_json(text: str) -> str:
    """The text itself if it is JSON, otherwise the text as a JSON string."""
    if _is_no_json(text):
        return _PYTHON_WORDS.get(text) or json.dumps(text, ensure_ascii=False)
    return text


def _is_no_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return True
    return False


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python reads and JSON lacks."""
    raise ValueError(name)
