"""Parses calls in notations that are read as a whole, once their closing marker has come."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable
from typing import Any

from server.parsers.events import AnswerEvent, CallArguments, CallStarted, Content
from server.parsers.scanner import MarkerScanner, SpaceHolder

Call = tuple[str, str]
"""A tool's name and its arguments as JSON."""


class BufferedCalls:
    """Text with calls between two markers; `translate` reads the calls."""

    def __init__(self, opening: str, closing: str, translate: Callable[[str], list[Call]]) -> None:
        """`translate` raises ValueError for text that holds no calls; such text becomes content."""
        self._opening = opening
        self._closing = closing
        self._openings = MarkerScanner(opening)
        self._closings = MarkerScanner(closing)
        self._translate = translate
        self._text = SpaceHolder()
        self._held: list[str] | None = None
        """The text after the opening marker; None outside the markers."""

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
    """`[name(key='value', other=3), …]`, with Python's literals or JSON. Raises ValueError."""
    text = text.strip()
    tree = _parsed(text)
    nodes = tree.elts if isinstance(tree, ast.List) else [tree]
    return [_python_call(ast.get_source_segment(text, node) or "") for node in nodes]


def _parsed(text: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # JSON has escapes that Python lacks
        return ast.parse(text, mode="eval").body


def _python_call(text: str) -> Call:
    """Read one call; its name need not be a Python name."""
    name, _, rest = text.partition("(")
    text = "f(" + rest
    node = _parsed(text)
    if not isinstance(node, ast.Call) or node.args or not _NAME.fullmatch(name.strip()):
        raise ValueError("not a call with named arguments")
    arguments = {}
    for keyword in node.keywords:
        if keyword.arg is not None:
            arguments[keyword.arg] = _python_value(keyword.value, text)
        elif isinstance(keyword.value, ast.Dict):
            arguments.update(_python_items(keyword.value, text))
        else:
            raise ValueError("an argument has no name")
    return name.strip(), _dumped(arguments)


def _python_items(node: ast.Dict, text: str) -> dict[str, Any]:
    """`**{"a name": 1}`: arguments whose names aren't Python names."""
    items: dict[str, Any] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        name = None if key is None else _python_value(key, text)
        if not isinstance(name, str):
            raise ValueError("an argument has no name")
        items[name] = _python_value(value, text)
    return items


def _python_value(node: ast.expr, text: str) -> Any:
    """The value of a Python literal or of JSON."""
    source = ast.get_source_segment(text, node) or ""
    try:
        return json.loads(source)
    except ValueError:
        return ast.literal_eval(node)


def keyed_calls(text: str) -> list[Call]:
    """Read `[{"name": {arguments}}, …]`, where the key is the tool's name. Raises ValueError."""
    calls = json.loads(text)
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise ValueError("not a list of objects")
    return [(name, _dumped(arguments)) for call in calls for name, arguments in call.items()]


_NAME = re.compile(r"[\w.\-]+")
_GEMMA_CALL = re.compile(r"\s*call:([\w.\-]+)\s*(\{.*\})\s*", re.DOTALL)
_GEMMA_PART = re.compile(
    r"""<\|"\|>(?P<text>.*?)<\|"\|> | (?P<json>"(?:[^"\\]|\\.)*")
      | (?P<key>[^\s{}\[\]",:]+)(?=\s*:) """,
    re.DOTALL | re.VERBOSE,
)
"""A text in the model's quotes, a text in JSON's quotes, or a key without quotes."""


def gemma_call(text: str) -> list[Call]:
    """Read `call:name{key:<|"|>text<|"|>,other:3}`: bare keys, and a marker instead of quotes."""
    match = _GEMMA_CALL.fullmatch(text)
    if match is None:
        raise ValueError("not a call")
    return [(match[1], _dumped(json.loads(_GEMMA_PART.sub(_gemma_part, match[2]))))]


def _gemma_part(match: re.Match[str]) -> str:
    return match["json"] or _dumped(match["key"] or match["text"])


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
