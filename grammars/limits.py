"""How large a constraint may be: what bounds the time and the memory of compiling one.

A source may come from anyone who may send a request, so everything here is sized for the worst
case rather than for the likely one: compiling stays below a second, matching below some 100 MB.
"""

from __future__ import annotations

import llguidance

MAX_SCHEMA_BYTES = 1 << 20
"""Of a schema as compact JSON, in UTF-8."""

MAX_ERROR_SEARCH = 200
"""Parts of a refused schema that are tried one by one, to say which of them is wrong."""

MAX_LARK_BYTES = 2 << 20
"""Of Lark text, with the JSON Schemas in it."""

MAX_GRAMMAR_BYTES = 128 << 10
"""Of GBNF text."""

MAX_REGEX_BYTES = 8 << 10
"""Of a regular expression; a thousand optional items take 20 MB, and it grows quadratically."""

MAX_CHOICES = 10_000
MAX_TRIGGER_BYTES = 1 << 10

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

MAX_LEXEME_NODES = 20_000
"""Of a GBNF rule with all its references replaced, for it to become one automaton."""

MAX_CHECK_SECONDS = 2.0
"""That building a grammar may compute before it is given up."""

MAX_CHECK_WAIT_SECONDS = 20.0
"""The same with the time in which other processes had the machine."""

MAX_CHECKER_BYTES = 1 << 30
"""Address space of the process that tries to build it, its stack and libraries included."""


def parser_limits() -> llguidance.LLParserLimits:
    """The limits of llguidance's own work, for validating a grammar and for running it.

    A lexer state takes one to two kB; a million units of initial fuel some 20 ms, a million items
    of a step some 50 ms.
    """
    return llguidance.LLParserLimits(
        max_items_in_row=10_000,
        initial_lexer_fuel=1_000_000,
        step_lexer_fuel=200_000,
        step_max_items=1_000_000,
        max_lexer_states=25_000,
        max_grammar_size=200_000,
        verbose_errors=False,
    )
