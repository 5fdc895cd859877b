"""Builds the constraints of tools and their calls, through the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from grammars.constraint import Constraint
from grammars.errors import GrammarError
from grammars.sandbox import sandbox
from server.parsers.control_tokens import SpelledTokens, control_token
from server.parsers.formats import ToolFormat
from server.structured_output.tool_grammar import ToolSignature
from server.structured_output.tool_jobs import (
    AnswerSource,
    Marks,
    ToolSource,
    UnknownMarks,
    build_answer,
    sign_tool,
)

MAX_MARKS = 20_000
"""Maximum number of names in one request's tools that look like control tokens."""

_MAX_ROUNDS = 3

ResultT = TypeVar("ResultT")


class ToolCalls:
    """Builds for one request, and remembers which marks are control tokens."""

    def __init__(self, format_: ToolFormat, tokenizer: SpelledTokens) -> None:
        self._format = format_
        self._tokenizer = tokenizer
        self._marks: Marks = {}

    def signature(self, tool: ToolSource) -> ToolSignature:
        """The part of a tool that can be enforced. Raises `GrammarError`."""
        name = self._format.name
        own = self._looked_up(self._format.syntax.marks())
        signed = self._asked(lambda marks: sandbox.call(sign_tool, tool, name, marks), own)
        return signed.signature

    def constraint(self, source: AnswerSource) -> Constraint:
        """The constraint of an answer. Raises `GrammarError`."""
        return self._asked(lambda marks: sandbox.call(build_answer, source, marks), self._marks)

    def _asked(self, ask: Callable[[Marks], ResultT | UnknownMarks], marks: Marks) -> ResultT:
        for _ in range(_MAX_ROUNDS):
            found = ask(marks)
            if not isinstance(found, UnknownMarks):
                return found
            marks = {**marks, **self._looked_up(found.marks)}
        raise GrammarError("it names too many control tokens")

    def _looked_up(self, marks: Iterable[str]) -> Marks:
        found = {}
        for mark in marks:
            if mark not in self._marks:
                self._marks[mark] = control_token(mark, self._tokenizer)
            found[mark] = self._marks[mark]
        if len(self._marks) > MAX_MARKS:
            raise GrammarError(f"more than {MAX_MARKS} names look like control tokens")
        return found
