"""Chat templates: rendered in the confined processes, as the server renders them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from loadtests.fuzz.family import Outcome, Place
from loadtests.fuzz.mutation import with_mutations
from server.templates.outcome import TemplateProblem
from server.templates.rendering import renderers, source_bytes

MOST_SECONDS = 45.0
"""Wall-clock time for compiling and rendering, with limits of their own, on a busy machine."""

VARIABLES = {
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "add_generation_prompt": True,
    "n": 99_999,
    "s": "x" * 1000,
}
VALUES = (
    *("n", "s", "messages", "tools", "range(n)", "'x'", "1", "0.1", "[]", "{}", "none", "true"),
    *("messages[0].content", "loop.index", "namespace(a=1)", "cycler(1)", "joiner()", "self", "x"),
    *("lipsum()", "dict(a=1)", "''.join", "s.format", "messages.append", "n.__class__", "''['a']"),
)
OPERATORS = ("+", "-", "*", "**", "/", "//", "%", "~", "==", "in", "and", "or", "if n else", "is")
FILTERS = (
    *("|length", "|join", "|sum", "|list", "|sort", "|unique|list", "|batch(2)|list", "|center(n)"),
    *(
        "|tojson",
        "|indent(n)",
        "|replace('x', s)",
        "|format(n)",
        "|wordwrap(1)",
        "|map('upper')|list",
    ),
    *(
        "|groupby('role')",
        "|selectattr('role')|list",
        "|xmlattr",
        "|urlize",
        "|random",
        "|round(n)",
    ),
    *("|slice(n)|list", "|truncate(n)", "|pprint", "|filesizeformat", "|items|list", "|string * n"),
)
WORDS = tuple(
    word.encode()
    for word in (
        *(*VALUES, *FILTERS, *OPERATORS, "{{", "}}", "{%", "%}", "{#", "#}", "{%-", "-%}"),
        *(
            "for a in range(n)",
            "endfor",
            "if",
            "endif",
            "macro f(x)",
            "endmacro",
            "set x =",
            "call",
        ),
        *(
            "raw",
            "endraw",
            "break",
            "continue",
            "filter upper",
            "block a",
            "extends",
            "include",
            "99999",
        ),
    )
)


@st.composite
def _value(draw: DrawFn, depth: int = 2) -> str:
    value = draw(st.sampled_from(VALUES))
    if depth and draw(st.booleans()):
        other = draw(_value(depth - 1))
        value = f"({value} {draw(st.sampled_from(OPERATORS))} {other})"
    return value + "".join(draw(st.lists(st.sampled_from(FILTERS), max_size=2)))


@st.composite
def _statement(draw: DrawFn, depth: int = 3) -> str:
    kind = draw(st.integers(0, 5 if depth else 1))
    value = draw(_value())
    if kind == 0:
        return "{{ " + value + " }}"
    if kind == 1:
        return "{% set x = " + value + " %}"
    inner = "".join(draw(_statement(depth - 1)) for _ in range(draw(st.integers(1, 3))))
    if kind in (2, 3):
        return "{% for m in " + value + " %}" + inner + "{% endfor %}"
    if kind == 4:
        return "{% if " + value + " %}" + inner + "{% endif %}"
    return "{% macro f(x) %}" + inner + "{{ f(x) }}{% endmacro %}{{ f(" + value + ") }}"


@st.composite
def _template(draw: DrawFn) -> bytes:
    return "".join(draw(_statement()) for _ in range(draw(st.integers(1, 4)))).encode()


class ChatTemplates:
    """Templates; a problem of the template is in order, everything else is a fault."""

    name = "templates"
    is_served = False

    def strategy(self, place: Place, seeds: Sequence[bytes]) -> SearchStrategy[bytes]:
        """Templates of a few statements, and mutations."""
        return with_mutations(_template(), seeds, WORDS)

    async def attempt(self, data: bytes, place: Place) -> Outcome:
        """Compile and render the template."""
        source = data.decode("utf-8", "replace")
        begun = time.perf_counter()
        shape, fault = await asyncio.to_thread(_rendered, source)
        seconds = time.perf_counter() - begun
        if seconds > MOST_SECONDS:
            fault = f"took {seconds:.0f} s"
        return Outcome(shape, seconds, fault)


def _rendered(source: str) -> tuple[str, str]:
    """The shape, and the fault."""
    try:
        renderers.compile(source_bytes(source))
        renderers.render(source_bytes(source), VARIABLES)
    except TemplateProblem as problem:
        return f"{type(problem).__name__} {str(problem)[:30]}", ""
    except Exception as error:
        return type(error).__name__, f"{type(error).__name__}: {str(error)[:300]}"
    return "a text", ""
