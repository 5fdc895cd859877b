"""Compiles the constraints that clients send to the typed form that the engine enforces.

Every function here is thread-safe and bounded in time and memory. The functions wait for the
sandbox, so call them off the event loop. All of them raise `GrammarError`.
"""

from __future__ import annotations

import functools
import itertools
import json

from llguidance import LLMatcher

from grammars import library, limits
from grammars.constraint import (
    Constraint,
    GbnfGrammar,
    LazyConstraint,
    LLGuidanceGrammar,
    ThinkingConstraint,
)
from grammars.errors import GrammarError
from grammars.gbnf import parser
from grammars.gbnf.lark import GrammarTokens, check, to_lark, uses_vocabulary
from grammars.gbnf.llama import refuse_for_llama
from grammars.json_schema.checker import check_schema, subschemas
from grammars.sandbox import sandbox

_ANY_JSON_OBJECT = {
    "type": "object",
    "x-guidance": {"whitespace_flexible": True, "whitespace_pattern": r"[ ]|\n[ \t]{0,40}"},
}
"""Models may indent free JSON as they like. The bound keeps a model from emitting spaces for ever.
"""


def from_json_schema(schema: object, *, is_open: bool = False) -> Constraint:
    """Constrain the answer to JSON that is valid for `schema`, a parsed JSON value.

    The JSON is written on one line with `, ` and `: ` as separators, unless the schema's top-level
    `x-guidance` says otherwise. An object's properties come in the schema's order. Properties that
    the schema doesn't declare are allowed only if the schema asks for them or `is_open` is set.
    """
    try:
        return _compile_json_schema(check_schema(schema, is_open=is_open))
    except GrammarError as error:
        if error.path is not None:
            raise
        raise GrammarError(error.message, _place_of(error.message, schema)) from error


def _compile_json_schema(source: str) -> Constraint:
    return _checked(LLMatcher.grammar_from_json_schema(source))


def _place_of(message: str, schema: object) -> str:
    """JSON pointer to the innermost subschema that is refused with the same message.

    llguidance doesn't say where an error is. The search ends after `MAX_ERROR_SEARCH` subschemas.
    """
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}  # type: ignore[index,operator]
    path = ""
    found: tuple[str, object] | None = ("", schema)
    left = limits.MAX_ERROR_SEARCH
    while found is not None and left > 0:
        path += found[0]
        parts = list(itertools.islice(subschemas(found[1]), left))
        left -= len(parts)
        found = next((part for part in parts if _is_refused(part[1], shared, message)), None)
    return path


def _is_refused(schema: object, shared: dict[str, object], message: str) -> bool:
    if not isinstance(schema, dict):
        return False
    try:
        _compile_json_schema(check_schema({**shared, **schema}))
    except GrammarError as error:
        return error.message == message
    return False


@functools.cache
def from_json_object() -> Constraint:
    """Constrain the answer to any JSON object, indented or not."""
    return _checked(LLMatcher.grammar_from_json_schema(_ANY_JSON_OBJECT))


def from_regex(pattern: str) -> Constraint:
    """Constrain the answer to texts that `pattern` matches as a whole, in the syntax of Rust's
    regex crate."""
    _limit_bytes(pattern, limits.MAX_REGEX_BYTES, "the regular expression")
    return _checked(LLMatcher.grammar_from_regex(pattern))


def from_choices(choices: list[str]) -> Constraint:
    """Constrain the answer to exactly one of the given texts."""
    if not choices:
        raise GrammarError("there is nothing to choose from")
    if len(choices) > limits.MAX_CHOICES:
        raise GrammarError(f"{len(choices)} choices are too many; {limits.MAX_CHOICES} is the most")
    # An upper-case name makes one lexeme with one automaton. A rule would make one per choice.
    lark = "start: CHOICE\nCHOICE: " + " | ".join(json.dumps(choice) for choice in choices)
    return from_lark(lark)


def from_lark(text: str) -> Constraint:
    """Constrain the answer by a grammar in llguidance's dialect of Lark."""
    _limit_bytes(text, limits.MAX_LARK_BYTES, "the grammar")
    return _checked(LLMatcher.grammar_from_lark(text))


def from_gbnf(text: str, tokens: GrammarTokens | None = None) -> Constraint:
    """Constrain the answer by a grammar in llama.cpp's GBNF, with the start rule `root`.

    The grammar is translated for llguidance. If the grammar names or excludes tokens (`<name>`,
    `!<[1]>`), the translation needs `tokens`; without `tokens`, llama.cpp enforces the grammar
    itself.

    Differences to llama.cpp: left recursion is allowed; a rule may not be defined twice; a range of
    characters or repetitions may not run backwards.
    """
    _limit_bytes(text, limits.MAX_GRAMMAR_BYTES, "the grammar")
    lark = _translation(text)
    if lark is None:
        grammar = parser.parse(text)
        if tokens is None:
            refuse_for_llama(grammar)
            return GbnfGrammar(text)
        lark = to_lark(grammar, tokens)
    return _checked(LLMatcher.grammar_from_lark(lark), is_written=True)


@functools.lru_cache(maxsize=64)
def _translation(text: str) -> str | None:
    """The Lark text of a GBNF grammar; None if the grammar depends on the vocabulary."""
    grammar = parser.parse(text)
    return None if uses_vocabulary(grammar, check(grammar)) else to_lark(grammar, None)


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
        _limit_bytes(word, limits.MAX_TRIGGER_BYTES, "a trigger")
    return LazyConstraint(constraint, words, tokens, keep_trigger)


def _limit_bytes(text: str, limit: int, what: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise GrammarError(f"{what} is not valid Unicode text") from error
    if size > limit:
        raise GrammarError(f"{what} has {size} bytes; {limit} is the most")


def _checked(definition: str, *, is_written: bool = False) -> LLGuidanceGrammar:
    """Let llguidance build the grammar once, in the sandbox. Raises `GrammarError`."""
    sandbox.check(definition, is_written=is_written)
    return LLGuidanceGrammar(definition, is_written)
