"""Parses calls with the name outside the JSON: `[TOOL_CALLS]name[ARGS]{…}` and similar forms."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence

from server.parsers.events import AnswerEvent, CallArguments, CallStarted, Content
from server.parsers.json_text import JsonText
from server.parsers.scanner import MarkerScanner, SpaceHolder


class _State(enum.Enum):
    TEXT = enum.auto()
    HEADER = enum.auto()
    ARGUMENTS = enum.auto()
    AFTER = enum.auto()


class NamedCalls:
    """Text in which `opening` announces a header with the tool's name, then a JSON object.

    The calls may stand in a section of their own, from `section` to `closing`. One of `ends` may
    follow a call's arguments. Other characters there are text.
    """

    def __init__(
        self,
        opening: str,
        header: str,
        *,
        section: str = "",
        ends: Sequence[str] = (),
        closing: str = "",
    ) -> None:
        """`header` is a regular expression with a group `name`; it matches the text up to the
        arguments."""
        self._header = re.compile(header, re.DOTALL)
        marks = [opening, *filter(None, [section, closing])]
        self._marks = MarkerScanner(*marks)
        self._marks_after = MarkerScanner(*marks, *ends)
        self._opening = opening
        self._ends = frozenset(ends)
        self._text = SpaceHolder()
        self._state = _State.TEXT
        self._held = ""
        self._json = JsonText()

    def feed(self, text: str) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        while text:
            if self._state is _State.HEADER:
                text = self._feed_header(text, events)
            elif self._state is _State.ARGUMENTS:
                text = self._feed_arguments(text, events)
            else:
                text = self._feed_text(text, events)
        return events

    def finish(self) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        if self._state is _State.HEADER:
            self._end_header(events)
        self._content(self._marks.flush() or self._marks_after.flush(), events)
        space = self._text.flush()
        return [*events, Content(space)] if space else events

    def _feed_text(self, text: str, events: list[AnswerEvent]) -> str:
        scanner = self._marks if self._state is _State.TEXT else self._marks_after
        before, marker, rest = scanner.feed(text)
        self._content(before, events)
        if marker == self._opening:
            self._text.drop()
            self._held = ""
            self._state = _State.HEADER
        elif marker and marker not in self._ends:
            self._state = _State.TEXT
        return rest

    def _feed_header(self, text: str, events: list[AnswerEvent]) -> str:
        brace = text.find("{")
        if brace < 0:
            self._held += text
            return ""
        self._held += text[:brace]
        self._json = JsonText()
        self._end_header(events)
        return text[brace:]

    def _end_header(self, events: list[AnswerEvent]) -> None:
        match = self._header.search(self._held)
        name = match["name"].strip() if match else ""
        if name:
            events.append(CallStarted(name))
            self._state = _State.ARGUMENTS
        else:
            self._content(self._opening + self._held, events)
            self._state = _State.TEXT
        self._held = ""

    def _feed_arguments(self, text: str, events: list[AnswerEvent]) -> str:
        end = self._json.feed(text)
        events.append(CallArguments(text[:end]))
        if self._json.is_done:
            self._state = _State.AFTER
        return text[end:]

    def _content(self, text: str, events: list[AnswerEvent]) -> None:
        text = self._text.feed(text)
        if text:
            events.append(Content(text))
