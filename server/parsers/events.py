"""The events that a parsed answer consists of, and the interface of a parser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Content:
    """Text for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Text of the model's thinking."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The model calls this tool; its arguments follow."""

    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More JSON text of the arguments of the call that started last."""

    text: str


AnswerEvent = Content | Reasoning | CallStarted | CallArguments


class AnswerParser(Protocol):
    """Reads an answer while the answer is generated, and looks at each piece of text once."""

    def feed(self, text: str) -> list[AnswerEvent]:
        """Read more text and return what is certain now; the parser holds the rest back."""
        ...

    def finish(self) -> list[AnswerEvent]:
        """Return what was held back, because no more text follows. Called once."""
        ...


class PlainText:
    """The parser of an answer that has no meaning besides its text."""

    def feed(self, text: str) -> list[AnswerEvent]:
        return [Content(text)] if text else []

    def finish(self) -> list[AnswerEvent]:
        return []
