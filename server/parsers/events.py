"""What the text of an answer turns out to mean, piece by piece."""

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
    """More of the JSON text that holds the arguments of the call started last."""

    text: str


AnswerEvent = Content | Reasoning | CallStarted | CallArguments


class AnswerParser(Protocol):
    """Reads an answer as it is generated; each piece of text is looked at once."""

    def feed(self, text: str) -> list[AnswerEvent]:
        """What is certain after this much text; the rest is held back."""
        ...

    def finish(self) -> list[AnswerEvent]:
        """What was held back, now that no text follows. Called once."""
        ...


class PlainText:
    """An answer without any meaning beside its text."""

    def feed(self, text: str) -> list[AnswerEvent]:
        return [Content(text)] if text else []

    def finish(self) -> list[AnswerEvent]:
        return []
