"""Calls in notations that are read as a whole, once their closing marker has come."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import Any

from server.tool_calls.events import AnswerEvent, CallArguments, CallStarted, Content
from server.tool_calls.scanner import MarkerScanner, SpaceHolder

Call = tuple[str, str]
"""A tool's name and its arguments as JSON."""


class BufferedCalls:
    """Text in which what stands between two markers is translated into calls."""

    def __init__(self, opening: str, closing: str, translate: Callable[[str], list[Call]]) -> None:
        """`translate` raises ValueError for what holds no calls, which then is text."""
        self._opening = opening
        self._closing = closing
        self._openings = MarkerScanner(opening)
        self._closings = MarkerScanner(closing)
        self._translate = translate
        self._text = SpaceHolder()
        self._held: list[str] | None = None
        """What came since the opening marker."""

    def feed(self, text: str) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        while text:
            if self._held is None:
                before, marker, text = self._openings.feed(text)
                self._content(before, events)
                self._held = [] if marker else None
            else:
                before, marker, text = self._closings.feed(text)
                self._held.append(before)
                if marker:
                    self._end(marker, events)
        return events

    def finish(self) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        if self._held is not None:
            self._held.append(self._closings.flush())
            self._end("", events)
        self._content(self._openings.flush(), events)
        space = self._text.flush()
        return [*events, Content(space)] if space else events

    def _end(self, marker: str, events: list[AnswerEvent]) -> None:
        inside = "".join(self._held or ())
        self._held = None
        try:
            calls = self._translate(inside)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            self._content(self._opening + inside + marker, events)
            return
        self._text.drop()
        for name, arguments in calls:
            events += [CallStarted(name), CallArguments(arguments)]

    def _content(self, text: str, events: list[AnswerEvent]) -> None:
        text = self._text.feed(text)
        if text:
            events.append(Content(text))


def python_calls(text: str) -> list[Call]:
    """`[name(key='value', other=3), …]`, with Python's literals. Raises ValueError."""
    tree = ast.parse(text.strip(), mode="eval").body
    nodes = tree.elts if isinstance(tree, ast.List) else [tree]
    return [_python_call(node) for node in nodes]


def _python_call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("not a call with named arguments")
    arguments = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise ValueError("an argument has no name")
        arguments[keyword.arg] = ast.literal_eval(keyword.value)
    return ast.unparse(node.func), _dumped(arguments)


def keyed_calls(text: str) -> list[Call]:
    """`[{"name": {arguments}}, …]`, the tool's name being the key. Raises ValueError."""
    calls = json.loads(text)
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise ValueError("not a list of objects")
    return [(name, _dumped(arguments)) for call in calls for name, arguments in call.items()]


_GEMMA_CALL = re.compile(r"\s*call:([\w.\-]+)\s*(\{.*\})\s*", re.DOTALL)
_GEMMA_QUOTE = '<|"|>'
_GEMMA_KEY = re.compile(r'([{,]\s*)([^\s{}\[\]",:]+)(\s*:)')


def gemma_call(text: str) -> list[Call]:
    """`call:name{key:<|"|>text<|"|>,other:3}`: bare keys, and a marker for quotes."""
    match = _GEMMA_CALL.fullmatch(text)
    if match is None:
        raise ValueError("not a call")
    parts = match[2].split(_GEMMA_QUOTE)
    for index, part in enumerate(parts):
        inside_quotes = index % 2 == 1
        parts[index] = _dumped(part) if inside_quotes else _GEMMA_KEY.sub(r'\1"\2"\3', part)
    return [(match[1], _dumped(json.loads("".join(parts))))]


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
