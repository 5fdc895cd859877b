"""Limits on the size of a constraint, which bound the time and the memory of compiling it.

Any client may send a source, so the limits are sized for the worst case. Compiling stays below a
second, and matching stays below some 100 MB.
"""

from __future__ import annotations

import llguidance

from grammars.errors import GrammarError

MAX_SCHEMA_BYTES = 1 << 20
"""Maximum size of a schema as compact JSON in UTF-8."""

MAX_ERROR_SEARCH = 200
"""Maximum number of subschemas of a refused schema that are tried to find the wrong one."""

MAX_SEARCH_SECONDS = 0.5
"""CPU time of that search."""

MAX_LARK_BYTES = 2 << 20
"""Maximum size of Lark text, including the JSON Schemas in the text."""

MAX_GRAMMAR_BYTES = 128 << 10
"""Maximum size of GBNF text."""

MAX_REGEX_BYTES = 8 << 10
"""Maximum size of a regular expression. A thousand optional items take 20 MB, and the memory grows
quadratically."""

MAX_CHOICES = 10_000
MAX_TRIGGER_BYTES = 1 << 10

MAX_SCHEMA_DEPTH = 100
"""Maximum depth of nested objects and arrays in a schema."""

MAX_SCHEMA_NODES = 50_000
"""Maximum number of values of any kind in a schema."""

MAX_PROPERTIES = 2_000
"""Maximum number of properties of one object; compile time is quadratic in this number."""

MAX_RULES = 5_000
MAX_GROUP_DEPTH = 50
MAX_REPETITIONS = 10_000
"""Maximum, in GBNF, of rules, of nested parentheses, and of a number in braces."""

MAX_LEXEME_NODES = 20_000
"""Maximum size of a GBNF rule that becomes one automaton, in nodes, after its references are
replaced."""

MAX_CHECK_SECONDS = 2.0
"""Maximum CPU time for building one grammar."""

MAX_CHECK_WAIT_SECONDS = 20.0
"""Maximum wall-clock time for building one grammar, while other processes use the machine."""

MAX_CHECKER_BYTES = 1 << 30
"""Maximum address space of the checker's process, including its stack and libraries."""


MAX_ROW_ITEMS = 10_000
"""Maximum number of rules that may go on at one place. An object takes four for each optional
property, and one of them at most goes on."""

MAX_WRITTEN_ROW_ITEMS = 3_000
"""The same for rules that a client wrote. The time of a place grows quadratically with ambiguous
rules, and accepting a token takes that time of everybody. The shipped grammars need less than 100.
"""


def check_bytes(text: str, limit: int, what: str) -> None:
    """Raise `GrammarError` if a text isn't Unicode, or has more than `limit` bytes in UTF-8."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise GrammarError(f"{what} is not valid Unicode text") from error
    if size > limit:
        raise GrammarError(f"{what} has {size} bytes; {limit} is the most")


def parser_limits(*, is_written: bool = False) -> llguidance.LLParserLimits:
    """The limits of llguidance's own work, when a grammar is validated and when it runs.

    `is_written` says that a client wrote the rules. A lexer state takes one to two kB. A million
    units of initial fuel take some 20 ms. The items of a step are those of one mask: the JSON
    Schema suite needs less than 5,000, and 100,000 take up to some hundred ms.
    """
    return llguidance.LLParserLimits(
        max_items_in_row=MAX_WRITTEN_ROW_ITEMS if is_written else MAX_ROW_ITEMS,
        initial_lexer_fuel=1_000_000,
        step_lexer_fuel=200_000,
        step_max_items=100_000,
        max_lexer_states=25_000,
        max_grammar_size=200_000,
        verbose_errors=False,
    )
