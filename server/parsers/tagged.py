"""Parses calls as JSON behind a marker: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`."""

from __future__ import annotations

import enum

from server.parsers.events import AnswerEvent, Content
from server.parsers.json_calls import JsonCalls
from server.parsers.scanner import MarkerScanner, SpaceHolder

_SEPARATORS = " \t\r\n,;"
"""Characters that may stand between the JSON of two calls."""


class _State(enum.Enum):
    TEXT = enum.auto()
    JSON = enum.auto()
    AFTER = enum.auto()


class TaggedCalls:
    """Text in which `opening` announces the JSON of a call, or of a list of calls."""

    def __init__(self, opening: str, closing: str) -> None:
        """`closing` ends the calls; it is empty if the end of the JSON ends them."""
        self._opening = opening
        self._has_closing = bool(closing)
        self._openings = MarkerScanner(opening)
        self._ends = MarkerScanner(opening, *filter(None, [closing]))
        self._text = SpaceHolder()
        self._json = JsonCalls()
        self._state = _State.TEXT

    def feed(self, text: str) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        while text:
            if self._state is _State.TEXT:
                text = self._feed_text(text, events)
            elif self._state is _State.JSON:
                text = self._feed_json(text, events)
            else:
                text = self._feed_after(text, events)
        return events

    def finish(self) -> list[AnswerEvent]:
        scanner = self._openings if self._state is _State.TEXT else self._ends
        events: list[AnswerEvent] = []
        self._content(scanner.flush(), events)
        space = self._text.flush()
        return [*events, Content(space)] if space else events

    def _feed_text(self, text: str, events: list[AnswerEvent]) -> str:
        before, marker, rest = self._openings.feed(text)
        self._content(before, events)
        if marker:
            self._begin()
        return rest

    def _feed_json(self, text: str, events: list[AnswerEvent]) -> str:
        found, consumed = self._json.feed(text)
        events.extend(found)
        if self._json.is_done or self._json.is_foreign:
            self._state = _State.AFTER if self._has_closing else _State.TEXT
        return text[consumed:]

    def _feed_after(self, text: str, events: list[AnswerEvent]) -> str:
        if not self._ends.is_holding:
            text = text.lstrip(_SEPARATORS)
            if text[:1] in ("{", "["):
                self._begin()
                return text
        before, marker, rest = self._ends.feed(text)
        self._content(before, events)
        if marker == self._opening:
            self._begin()
        elif marker:
            self._state = _State.TEXT
        return rest

    def _begin(self) -> None:
        self._text.drop()
        self._json = JsonCalls()
        self._state = _State.JSON

    def _content(self, text: str, events: list[AnswerEvent]) -> None:
        text = self._text.feed(text)
        if text:
            events.append(Content(text))
