"""Parses calls written as JSON without any marker: an answer that begins with a call is only
calls."""

from __future__ import annotations

import enum
from collections.abc import Collection

from server.parsers.events import AnswerEvent, CallStarted, Content
from server.parsers.json_calls import JsonCalls

_BETWEEN = " \t\r\n;,`"
"""Characters that may stand between two calls."""


class _State(enum.Enum):
    START = enum.auto()
    JSON = enum.auto()
    TEXT = enum.auto()


class BareCalls:
    """An answer that is either text or JSON calls of known tools.

    JSON that calls no known tool is text, because the user may have asked for JSON. The parser
    holds JSON back until its keys tell calls from text.
    """

    def __init__(self, names: Collection[str], *, prefixes: tuple[str, ...] = ()) -> None:
        """`names` are the names of the request's tools; `prefixes` may stand before the JSON."""
        self._names = frozenset(names)
        self._prefixes = ("```json", *prefixes)
        self._state = _State.START
        self._held = ""
        self._json = JsonCalls()
        self._is_sure = False
        """Whether a known tool was called; from then on the text is calls."""

    def feed(self, text: str) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        while text:
            if self._state is _State.START:
                text = self._feed_start(text)
            elif self._state is _State.JSON:
                text = self._feed_json(text, events)
            else:
                events.append(Content(text))
                text = ""
        return events

    def finish(self) -> list[AnswerEvent]:
        held, self._held = self._held, ""
        return [] if not held or (self._is_sure and not held.strip(_BETWEEN)) else [Content(held)]

    def _feed_start(self, text: str) -> str:
        """Wait for the first character that tells text from JSON."""
        held = self._held + text
        begun = held.lstrip(_BETWEEN if self._is_sure else None)
        for prefix in self._prefixes:
            if begun.startswith(prefix):
                begun = begun[len(prefix) :].lstrip()
        if not begun or any(prefix.startswith(begun) for prefix in self._prefixes):
            self._held = held
            return ""
        self._held = ""
        if begun[0] in "{[":
            self._json = JsonCalls()
            self._state = _State.JSON
            return begun
        self._state = _State.TEXT
        return begun if self._is_sure else held

    def _feed_json(self, text: str, events: list[AnswerEvent]) -> str:
        found, consumed = self._json.feed(text)
        if not self._is_sure:
            self._held += text[:consumed]
            starts = [event for event in found if isinstance(event, CallStarted)]
            if starts and starts[0].name in self._names:
                self._is_sure = True
                self._held = ""
            elif starts or self._json.is_done or self._json.is_foreign:
                return self._give_up(text[consumed:])
        if self._is_sure:
            events.extend(found)
        if self._json.is_done or self._json.is_foreign:
            self._state = _State.START
        return text[consumed:]

    def _give_up(self, rest: str) -> str:
        text, self._held = self._held + rest, ""
        self._state = _State.TEXT
        return text
