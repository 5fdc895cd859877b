"""The Jinja sandbox in which chat templates run, and the functions that templates rely on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from server.templates.outcome import RenderLimit, TemplateRefusal

RENDER_CHARS = 32 * 1024 * 1024
"""Maximum number of characters that one render may produce."""

_LIST_METHODS = frozenset({"append", "extend", "insert", "pop"})


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox.

    The sandbox bounds what a template reaches. The process that runs it bounds what a template
    uses: `server.templates.renderer`.
    """

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", GenerationBlock],
        )
        self.filters["tojson"] = to_json
        self.filters["from_json"] = self.filters["fromjson"] = json.loads
        self.globals["raise_exception"] = raise_exception
        self.globals["strftime_now"] = strftime_now

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Lists may grow and shrink, because templates keep queues, and every render works on
        copies."""
        if type(obj) is list and attr in _LIST_METHODS:
            return True
        return super().is_safe_attribute(obj, attr, value)

    def render(self, template: jinja2.Template, variables: Mapping[str, Any]) -> str:
        """The text of `template`. Raises `RenderLimit`, and any error of the template."""
        pieces: list[str] = []
        size = 0
        for piece in template.generate(variables):
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
