"""Parses Functionary 3.2's answers: `all` and text, or a tool's name and JSON, separated by
`>>>`."""

from __future__ import annotations

from server.parsers.events import AnswerEvent, CallArguments, CallStarted, Content
from server.parsers.scanner import MarkerScanner, SpaceHolder

_TEXT_RECIPIENT = "all"


class FunctionaryAnswer:
    """One answer. The answer begins with a recipient, since the prompt ends with `>>>`."""

    def __init__(self) -> None:
        self._parts = MarkerScanner(">>>")
        self._lines = MarkerScanner("\n")
        self._recipient = ""
        self._in_header = True
        self._text = SpaceHolder()

    def feed(self, text: str) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        while text:
            scanner = self._lines if self._in_header else self._parts
            before, marker, text = scanner.feed(text)
            if self._in_header:
                self._recipient += before
                if marker:
                    self._begin_body(events)
                continue
            self._take(before, events)
            if marker:
                self._text.drop()
                self._recipient, self._in_header = "", True
        return events

    def finish(self) -> list[AnswerEvent]:
        if self._in_header:
            return [Content(self._recipient)] if self._recipient else []
        events: list[AnswerEvent] = []
        self._take(self._parts.flush(), events)
        return events

    def _begin_body(self, events: list[AnswerEvent]) -> None:
        self._recipient = self._recipient.strip()
        self._in_header = False
        if self._recipient != _TEXT_RECIPIENT:
            events.append(CallStarted(self._recipient))

    def _take(self, text: str, events: list[AnswerEvent]) -> None:
        text = self._text.feed(text)
        if not text:
            return
        is_text = self._recipient == _TEXT_RECIPIENT
        events.append(Content(text) if is_text else CallArguments(text))
