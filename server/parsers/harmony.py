"""Parses gpt-oss' answers: messages on channels, each with a header that names its target."""

from __future__ import annotations

import re

from server.parsers.events import AnswerEvent, CallArguments, CallStarted, Content, Reasoning
from server.parsers.reasoning import ReasoningMarkers
from server.parsers.scanner import MarkerScanner

MARKS = (
    "<|start|>",
    "<|channel|>",
    "<|constrain|>",
    "<|message|>",
    "<|end|>",
    "<|call|>",
    "<|return|>",
)
ANALYSIS = ReasoningMarkers("<|channel|>analysis<|message|>", "<|end|>")
"""The markers around the model's thinking."""

NEXT_MESSAGE = "<|start|>assistant"
"""The text between the thinking and the next message."""

FINAL = "<|channel|>final<|message|>"
"""The header of the text for the user."""

_ENDS = frozenset({"<|start|>", "<|end|>", "<|call|>", "<|return|>"})
_RECIPIENT = re.compile(r"\bto=(?:functions\.)?([\w.\-]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")


class HarmonyAnswer:
    """Reasoning, content and calls of one answer.

        <|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…
        └────────── header ──────────┘└ body ┘

    An answer begins with a header, since the prompt ends with `<|start|>assistant`.
    """

    def __init__(self) -> None:
        self._scanner = MarkerScanner(*MARKS)
        self._header: list[str] | None = []
        """Parts of the header that is being read; None inside a body."""
        self._channel = ""
        self._is_call = False

    def feed(self, text: str) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        while text:
            before, marker, text = self._scanner.feed(text)
            self._take(before, events)
            if marker == "<|message|>":
                self._begin_body(events)
            elif marker in _ENDS:
                self._header = []
            elif marker and self._header is not None:
                self._header.append(marker)
        return events

    def finish(self) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        self._take(self._scanner.flush(), events)
        if self._header and not self._channel:
            # No header was ever complete: the model doesn't follow its format.
            events.append(Content("".join(self._header)))
        return events

    def _take(self, text: str, events: list[AnswerEvent]) -> None:
        if not text:
            return
        if self._header is not None:
            self._header.append(text)
        elif self._is_call:
            events.append(CallArguments(text))
        else:
            events.append(Reasoning(text) if self._channel == "analysis" else Content(text))

    def _begin_body(self, events: list[AnswerEvent]) -> None:
        header = "".join(self._header or ())
        self._header = None
        channel, recipient = _CHANNEL.search(header), _RECIPIENT.search(header)
        self._channel = channel[1] if channel else "final"
        self._is_call = recipient is not None and recipient[1] != "assistant"
        if recipient is not None and self._is_call:
            events.append(CallStarted(recipient[1]))
