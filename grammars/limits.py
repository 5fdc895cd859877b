"""How large a constraint may be: what bounds the time and the memory of compiling one.

A source may come from anyone who may send a request, so everything here is sized for the worst
case rather than for the likely one: compiling stays below a second, matching below some 100 MB.
"""

from __future__ import annotations

import llguidance

MAX_SOURCE_BYTES = 1 << 20
"""Of a schema as compact JSON, or of a grammar's text, in UTF-8."""

MAX_REGEX_BYTES = 64 << 10
MAX_CHOICES = 10_000

MAX_SCHEMA_DEPTH = 100
"""Nested objects and arrays in the JSON of a schema."""

MAX_SCHEMA_NODES = 50_000
"""Values of any kind in the JSON of a schema."""

MAX_PROPERTIES = 2_000
"""Of one object; compiling is quadratic in it."""

MAX_RULES = 5_000
MAX_GROUP_DEPTH = 50
MAX_REPETITIONS = 10_000
"""Of GBNF: rules, nested parentheses, and a number in braces."""


def parser_limits() -> llguidance.LLParserLimits:
    """The limits of llguidance's own work, for validating a grammar and for running it.

    A lexer state takes one to two kB, a million units of initial fuel about 20 ms.
    """
    return llguidance.LLParserLimits(
        max_items_in_row=2_000,
        initial_lexer_fuel=1_000_000,
        step_lexer_fuel=200_000,
        step_max_items=50_000,
        max_lexer_states=50_000,
        max_grammar_size=200_000,
        verbose_errors=False,
    )
