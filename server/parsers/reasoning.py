"""Separates a model's thinking from its answer while both are being generated."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server.parsers.events import AnswerEvent, AnswerParser, Reasoning
from server.parsers.scanner import MarkerScanner, SpaceHolder


@dataclass(frozen=True, slots=True)
class ReasoningMarkers:
    """The texts before and after a model's thinking."""

    opening: str
    closing: str
    sign: str = ""
    """Text that occurs in the templates of such models, if not the closing marker itself."""

    def opened_by(self, prompt: str) -> bool:
        """Whether the answer begins inside the thinking, because the prompt ends there."""
        return prompt.rstrip().endswith(self.opening.rstrip())

    def left_open_in(self, text: str) -> bool:
        """Whether `text` begins thinking that doesn't end."""
        return text.lstrip().startswith(self.opening) and self.closing not in text


KNOWN_MARKERS: Sequence[ReasoningMarkers] = (
    ReasoningMarkers("<seed:think>", "</seed:think>"),
    ReasoningMarkers("<|START_THINKING|>", "<|END_THINKING|>"),
    ReasoningMarkers("[THINK]", "[/THINK]"),
    ReasoningMarkers("<|channel>thought\n", "<channel|>"),
    ReasoningMarkers("<|inner_prefix|>", "<|inner_suffix|>"),
    ReasoningMarkers("<mm:think>", "</mm:think>"),
    ReasoningMarkers("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
    ReasoningMarkers("<think:opensource>", "</think:opensource>", "'</think{}>'"),
    ReasoningMarkers("<think>", "</think>"),
)


def detect_markers(source: str) -> ReasoningMarkers | None:
    """The markers that a chat template writes, if its model thinks."""
    for markers in KNOWN_MARKERS:
        if (markers.sign or markers.closing) in source:
            return markers
    return None


def effort_variables(effort: str | None) -> dict[str, Any]:
    """The template variables for a reasoning effort; "none" turns thinking off."""
    if effort is None:
        return {}
    return {"enable_thinking": False} if effort == "none" else {"reasoning_effort": effort}


class _State(enum.Enum):
    START = enum.auto()
    THINKING = enum.auto()
    AFTER = enum.auto()
    ANSWER = enum.auto()


class ReasoningSplitter:
    """Takes the thinking out of an answer and leaves the rest to another parser.

    Thinking comes first or not at all: an opening marker in the middle of an answer means nothing.
    White space around the thinking belongs to the markers.
    """

    def __init__(
        self,
        markers: ReasoningMarkers,
        inner: AnswerParser,
        *,
        is_open: bool = False,
        is_continued: bool = False,
    ) -> None:
        """`is_open` says that the prompt ended inside the thinking. `is_continued` says that some
        of it came before: then its first white space is part of it."""
        self._opening = markers.opening
        self._inner = inner
        self._scanner = MarkerScanner(markers.closing)
        self._text = SpaceHolder(at_start=not is_continued)
        self._state = _State.THINKING if is_open else _State.START
        self._held = ""

    def feed(self, text: str) -> list[AnswerEvent]:
        if self._state is _State.ANSWER:
            return self._inner.feed(text)
        if self._state is _State.START:
            return self._feed_start(text)
        if self._state is _State.THINKING:
            return self._feed_thinking(text)
        return self._feed_after(text)

    def finish(self) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        if self._state is _State.THINKING:
            events = self._reasoning(self._scanner.flush())
        elif self._state is _State.START and self._held:
            events = self._inner.feed(self._held)
        return events + self._inner.finish()

    def _feed_start(self, text: str) -> list[AnswerEvent]:
        self._held += text
        begun = self._held.lstrip()
        if begun.startswith(self._opening):
            self._state = _State.THINKING
            return self._feed_thinking(begun[len(self._opening) :])
        if self._opening.startswith(begun):
            return []
        self._state = _State.ANSWER
        return self._inner.feed(self._held)

    def _feed_thinking(self, text: str) -> list[AnswerEvent]:
        before, marker, rest = self._scanner.feed(text)
        events = self._reasoning(before)
        if marker is None:
            return events
        self._state = _State.AFTER
        return events + self._feed_after(rest)

    def _feed_after(self, text: str) -> list[AnswerEvent]:
        text = text.lstrip()
        if not text:
            return []
        self._state = _State.ANSWER
        return self._inner.feed(text)

    def _reasoning(self, text: str) -> list[AnswerEvent]:
        text = self._text.feed(text)
        return [Reasoning(text)] if text else []
