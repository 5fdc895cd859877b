"""The Jinja sandbox in which chat templates run, and the functions that templates rely on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

RENDER_SECONDS = 10.0
"""Wall-clock limit of one render; long chats need milliseconds."""

RENDER_CHARS = 32 * 1024 * 1024
"""Maximum number of characters that one render may produce."""

_CLOCK_INTERVAL = 1024
"""Attribute look-ups between two checks of the clock; each pass of a loop makes several."""

_LIST_METHODS = frozenset({"append", "extend", "insert", "pop"})


class TemplateRefusal(jinja2.TemplateError):
    """The template called `raise_exception`; the message is from the template's author."""


class RenderLimit(jinja2.TemplateError):
    """The render took too long or grew too large."""


class _Budget(threading.local):
    """The remaining time and size of one render on this thread. Raises `RenderLimit`."""

    deadline = 0.0
    lookups = 0

    def start(self) -> None:
        self.deadline = time.monotonic() + RENDER_SECONDS
        self.lookups = 0

    def look_up(self) -> None:
        self.lookups += 1
        if self.lookups % _CLOCK_INTERVAL == 0:
            self.check_clock()

    def check_clock(self) -> None:
        if time.monotonic() > self.deadline:
            raise RenderLimit(f"it ran for more than {RENDER_SECONDS:g} seconds")


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox, with a bound on the time and size of a render.

    Python code can't be interrupted from outside. So the budget is checked in the operations that
    every loop of a template uses: attribute look-ups, calls and output.
    """

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", GenerationBlock],
        )
        self._budget = _Budget()
        self.filters["tojson"] = to_json
        self.filters["from_json"] = self.filters["fromjson"] = json.loads
        self.globals["raise_exception"] = raise_exception
        self.globals["strftime_now"] = strftime_now

    def getattr(self, obj: Any, attribute: str) -> Any:
        self._budget.look_up()
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        self._budget.look_up()
        return super().getitem(obj, argument)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Lists may grow and shrink, because templates keep queues, and every render works on
        copies."""
        if type(obj) is list and attr in _LIST_METHODS:
            return True
        return super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        size = len(left) if isinstance(left, str | list | tuple) else 1
        count = right if isinstance(right, int) else 1
        if size * count > RENDER_CHARS or (operator == "**" and count > 64):
            raise RenderLimit(f"the result of {operator!r} is too large")
        return super().call_binop(context, operator, left, right)

    def render(self, template: jinja2.Template, variables: Mapping[str, Any]) -> str:
        """The text of `template`. Raises `jinja2.TemplateError`, or any error of its Python
        parts."""
        self._budget.start()
        pieces: list[str] = []
        size = 0
        for piece in template.generate(variables):
            self._budget.look_up()
            size += len(piece)
            if size > RENDER_CHARS:
                raise RenderLimit(f"its text is longer than {RENDER_CHARS} characters")
            pieces.append(piece)
        return "".join(pieces)


class GenerationBlock(Extension):
    """`{% generation %}…{% endgeneration %}` marks training targets; a server only renders its
    body."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a plain set

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def raise_exception(message: object = "the template refused the messages") -> NoReturn:
    """Refuse the messages, with the template author's text."""
    raise TemplateRefusal(str(message))


def strftime_now(pattern: str) -> str:
    """The server's local time, formatted by a `strftime` pattern."""
    return datetime.now().strftime(pattern)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as in the model's training data: unlike jinja2's own filter, this escapes no HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
