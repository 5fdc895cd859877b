"""Parses calls with one element per parameter: `<function=f><parameter=key>value</parameter>…`."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.parsers.events import AnswerEvent, CallArguments, CallStarted, Content
from server.parsers.scanner import MarkerScanner, SpaceHolder


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterMarks:
    """The texts around the parts of such calls.

        opening (function NAME name_end (key KEY key_end value VALUE value_end)… end)… closing

    Without `function`, the name follows the opening, and `end` closes the opening as well. A name
    may end where the first parameter begins. White space between the parts has no meaning.
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
        self._writer = _ArgumentsWriter({})

    def feed(self, text: str) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        while text:
            before, marker, text = self._scanners[self._state].feed(text)
            self._take(before, events)
            if marker is not None:
                self._handle_mark(marker, events)
        return events

    def finish(self) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
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
        elif self._state in (_State.NAME, _State.KEY):
            self._held.append(text)

    def _handle_mark(self, marker: str, events: list[AnswerEvent]) -> None:
        """Process a mark, which ends one part and begins another."""
        marks, state = self._marks, self._state
        if state is _State.TEXT:
            self._text.drop()
            self._state = _State.SECTION if marks.function else _State.NAME
        elif state is _State.SECTION:
            self._state = _State.NAME if marker == marks.function else _State.TEXT
        elif state is _State.KEY:
            self._writer.key("".join(self._held))
            self._state = _State.GAP if marks.value else _State.VALUE
        elif state is _State.GAP:
            self._state = _State.VALUE
        elif state is _State.VALUE:
            events.append(CallArguments(self._writer.end_value()))
            self._state = _State.BODY
        else:
            self._handle_mark_in_function(marker, events)
        self._held.clear()

    def _handle_mark_in_function(self, marker: str, events: list[AnswerEvent]) -> None:
        """Process a mark after the name or after a parameter."""
        marks = self._marks
        if self._state is _State.NAME:
            name = "".join(self._held).strip()
            events.append(CallStarted(name))
            self._writer = _ArgumentsWriter(self._schemas.get(name, {}))
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
        _State.KEY: MarkerScanner(marks.key_end),
        _State.GAP: MarkerScanner(marks.value or marks.key_end),
        _State.VALUE: MarkerScanner(marks.value_end),
    }


class _ArgumentsWriter:
    """Writes the arguments of one call as JSON, piece by piece."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        properties = schema.get("properties")
        self._properties = properties if isinstance(properties, dict) else {}
        self._opening = "{"
        self._is_text = False
        self._held = ""

    def key(self, text: str) -> None:
        """Begin a parameter; its mark may say whether the value is a text."""
        key, _, attributes = text.partition('"')
        key = key.strip()
        self._is_text = is_text(self._properties.get(key))
        if 'string="' in attributes:
            self._is_text = 'string="true"' in attributes
        self._opening += json.dumps(key, ensure_ascii=False) + ": " + ('"' if self._is_text else "")
        self._held = ""

    def value(self, text: str) -> str:
        """Take more of the value; return the JSON that can be written already."""
        self._held += text
        if not self._is_text:
            return ""
        if self._opening:
            self._held = self._held.removeprefix("\n")
        ready = self._held.removesuffix("\n")
        if not ready:
            return ""
        self._held = self._held[len(ready) :]
        return self._take_opening() + json.dumps(ready, ensure_ascii=False)[1:-1]

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


def is_text(schema: object) -> bool:
    """Whether the schema of a parameter allows only texts; models write texts without quotes."""
    if not isinstance(schema, dict):
        return False
    if "type" in schema:
        return bool(schema["type"] == "string")
    choices = schema.get("enum")
    return isinstance(choices, list) and all(isinstance(choice, str) for choice in choices)


_LABEL = "[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?"
_WORD = "[A-Za-z0-9_+-]"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
PLAIN_FORMATS = {
    "uuid": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "email": f"{_WORD}{{1,40}}(\\.{_WORD}{{1,20}}){{0,3}}@{_LABEL}(\\.{_LABEL}){{1,3}}",
    "hostname": f"{_LABEL}(\\.{_LABEL}){{0,4}}",
    "ipv4": f"{_BYTE}(\\.{_BYTE}){{3}}",
    "ipv6": "[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}",
    "uri": f"[a-z][a-z0-9+.-]{{1,15}}://{_LABEL}(\\.{_LABEL}){{0,4}}(/[A-Za-z0-9._~-]{{0,80}}){{0,20}}",
    "duration": "P([0-9]{1,6}D(T[0-9]{1,6}H)?|T[0-9]{1,6}[HMS]|[0-9]{1,6}[WMY])",
}
"""Patterns, without anchors, for texts of a format: the usual texts, not all allowed ones."""


_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}


def _as_json(text: str) -> str:
    """The text itself if it is JSON, otherwise the text as a JSON string."""
    try:
        json.loads(text)
    except ValueError:
        return _PYTHON_WORDS.get(text) or json.dumps(text, ensure_ascii=False)
    return text
