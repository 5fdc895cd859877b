"""Compiles the constraints that clients send to the typed form that the engine enforces.

Every function here is thread-safe and bounded in time and memory. The work is done in the sandbox,
so the functions block: call them off the event loop. All of them raise `GrammarError`, and what
`Sandbox.call` raises.
"""

from __future__ import annotations

import functools
import json

from llguidance import LLMatcher

from grammars import building, library, limits
from grammars.constraint import Constraint, LazyConstraint, ThinkingConstraint
from grammars.errors import GrammarError
from grammars.gbnf.lark import GrammarTokens
from grammars.json_schema.checker import check_size
from grammars.limits import check_bytes
from grammars.sandbox import sandbox

_ANY_JSON_OBJECT = {
    "type": "object",
    "x-guidance": {"whitespace_flexible": True, "whitespace_pattern": r"[ ]|\n[ \t]{0,40}"},
}
"""Models may indent free JSON as they like. The bound keeps a model from emitting spaces for ever.
"""

_ESCAPED = 8
"""A bound of the characters that one byte of a text, with its share of the commas, takes in
ASCII."""


def from_json_schema(schema: object, *, is_open: bool = False) -> Constraint:
    """Constrain the answer to JSON that is valid for `schema`, a parsed JSON value.

    The JSON is written on one line with `, ` and `: ` as separators, unless the schema's top-level
    `x-guidance` says otherwise. An object's properties come in the schema's order. Properties that
    the schema doesn't declare are allowed only if the schema asks for them or `is_open` is set.
    """
    return sandbox.call(building.build_schema, schema_text(schema), is_open)


def compact_schema(schema: object) -> str:
    """The compact JSON of a schema that can be enforced."""
    return sandbox.call(building.checked_schema, schema_text(schema))


def schema_text(schema: object) -> str:
    """A schema as JSON in ASCII, whose size is roughly bounded."""
    try:
        text = json.dumps(schema)
    except (TypeError, ValueError, RecursionError):
        check_size(schema)  # names the place
        raise
    if len(text) > _ESCAPED * limits.MAX_SCHEMA_BYTES:
        raise GrammarError(f"the schema has more than {limits.MAX_SCHEMA_BYTES} bytes", "")
    return text


@functools.cache
def from_json_object() -> Constraint:
    """Constrain the answer to any JSON object, indented or not."""
    return sandbox.call(building.build, LLMatcher.grammar_from_json_schema(_ANY_JSON_OBJECT))


def from_regex(pattern: str) -> Constraint:
    """Constrain the answer to texts that `pattern` matches as a whole, in the syntax of Rust's
    regex crate."""
    check_bytes(pattern, limits.MAX_REGEX_BYTES, "the regular expression")
    return sandbox.call(building.build_regex, pattern)


def from_choices(choices: list[str]) -> Constraint:
    """Constrain the answer to exactly one of the given texts."""
    if not choices:
        raise GrammarError("there is nothing to choose from")
    if len(choices) > limits.MAX_CHOICES:
        raise GrammarError(f"{len(choices)} choices are too many; {limits.MAX_CHOICES} is the most")
    check_bytes("".join(choices), limits.MAX_LARK_BYTES, "the list of choices")
    return sandbox.call(building.build_choices, choices)


def from_lark(text: str) -> Constraint:
    """Constrain the answer by a grammar in llguidance's dialect of Lark."""
    check_bytes(text, limits.MAX_LARK_BYTES, "the grammar")
    return sandbox.call(building.build_lark, text)


def from_gbnf(text: str, tokens: GrammarTokens | None = None) -> Constraint:
    """Constrain the answer by a grammar in llama.cpp's GBNF, with the start rule `root`.

    The grammar is translated for llguidance. If the grammar names or excludes tokens (`<name>`,
    `!<[1]>`), the translation needs `tokens`; without `tokens`, llama.cpp enforces the grammar
    itself.

    Differences to llama.cpp: left recursion is allowed; a rule may not be defined twice; a range of
    characters or repetitions may not run backwards.
    """
    check_bytes(text, limits.MAX_GRAMMAR_BYTES, "the grammar")
    built = sandbox.call(building.build_gbnf, text, tokens is not None, None)
    if tokens is not None and isinstance(built, building.UnknownTokens):
        known = _looked_up(built.names, tokens)
        built = sandbox.call(building.build_gbnf, text, True, known)
    assert not isinstance(built, building.UnknownTokens)
    return built


def _looked_up(names: list[str], tokens: GrammarTokens) -> building.TokenIds:
    ids = {name: tokens.tokenize(name, add_special=False, parse_special=True) for name in names}
    return building.TokenIds(ids, frozenset(tokens.end_tokens))


def named(name: str) -> Constraint:
    """Constrain the answer by a shipped grammar; see `grammars.library`."""
    return from_gbnf(library.find(name).text)


def lazy(
    constraint: Constraint,
    *,
    words: tuple[str, ...] = (),
    tokens: tuple[int, ...] = (),
    keep_trigger: bool = True,
) -> Constraint:
    """Allow free text until one of `words` or `tokens` appears, and apply `constraint` from there
    on.

    `keep_trigger` says whether the constraint describes the trigger too.
    """
    if isinstance(constraint, (LazyConstraint, ThinkingConstraint)):
        raise GrammarError("a lazy constraint can't wait for a second trigger")
    if not (words or tokens):
        raise GrammarError("a lazy constraint needs a trigger")
    if "" in words:
        raise GrammarError("a trigger can't be an empty text")
    for word in words:
        check_bytes(word, limits.MAX_TRIGGER_BYTES, "a trigger")
    return LazyConstraint(constraint, words, tokens, keep_trigger)
