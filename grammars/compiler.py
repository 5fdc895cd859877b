"""From what a client may send as a constraint to the typed form that the engine enforces.

Every function here is pure, thread-safe and bounded in time and memory; call them off the event
loop. All of them raise `GrammarError`.
"""

from __future__ import annotations

import functools
import json

from llguidance import LLMatcher

from grammars import gbnf, limits
from grammars.constraint import Constraint, GbnfGrammar, LLGuidanceGrammar
from grammars.errors import GrammarError
from grammars.gbnf_lark import GrammarTokens, check, to_lark, uses_vocabulary
from grammars.gbnf_llama import refuse_for_llama
from grammars.json_schema import check_schema
from grammars.sandbox import sandbox

_ANY_JSON_OBJECT = {
    "type": "object",
    "x-guidance": {"whitespace_flexible": True, "whitespace_pattern": r"[ ]|\n[ \t]{0,40}"},
}
"""Models indent free JSON as they like; a bound keeps one from emitting spaces for ever."""


def from_json_schema(schema: object) -> Constraint:
    """JSON that is valid for `schema`, a parsed JSON value.

    The JSON is written on one line with `, ` and `: ` as separators, unless the schema's
    top-level `x-guidance` says otherwise, and an object's properties come in the schema's order.
    """
    source = check_schema(schema)
    return _compile_json_schema(source)


@functools.lru_cache(maxsize=256)
def _compile_json_schema(source: str) -> Constraint:
    return _checked(LLMatcher.grammar_from_json_schema(source))


@functools.cache
def from_json_object() -> Constraint:
    """Any JSON object, indented or not."""
    return _checked(LLMatcher.grammar_from_json_schema(_ANY_JSON_OBJECT))


@functools.lru_cache(maxsize=256)
def from_regex(pattern: str) -> Constraint:
    """Text that `pattern` matches as a whole; the syntax is that of Rust's regex crate."""
    _limit_bytes(pattern, limits.MAX_REGEX_BYTES, "the regular expression")
    return _checked(LLMatcher.grammar_from_regex(pattern))


def from_choices(choices: list[str]) -> Constraint:
    """One of the given texts, exactly."""
    if not choices:
        raise GrammarError("there is nothing to choose from")
    if len(choices) > limits.MAX_CHOICES:
        raise GrammarError(f"{len(choices)} choices are too many; {limits.MAX_CHOICES} is the most")
    # An upper-case name is one lexeme, hence one automaton; as rules, every choice is its own.
    lark = "start: CHOICE\nCHOICE: " + " | ".join(json.dumps(choice) for choice in choices)
    return from_lark(lark)


@functools.lru_cache(maxsize=256)
def from_lark(text: str) -> Constraint:
    """A grammar in llguidance's dialect of Lark."""
    _limit_bytes(text, limits.MAX_GRAMMAR_BYTES, "the grammar")
    return _checked(LLMatcher.grammar_from_lark(text))


def from_gbnf(text: str, tokens: GrammarTokens | None = None) -> Constraint:
    """A grammar in llama.cpp's GBNF, with the start rule `root`.

    It is translated for llguidance, unless it names tokens or excludes some (`<name>`,
    `!<[1]>`), and `tokens`, which the translation of these needs, is None: llama.cpp will read it
    then. Differences to llama.cpp: left recursion is allowed; a rule may not be defined twice; a
    range of characters or repetitions may not run backwards.
    """
    _limit_bytes(text, limits.MAX_GRAMMAR_BYTES, "the grammar")
    grammar = gbnf.parse(text)
    names = check(grammar)
    if tokens is None and uses_vocabulary(grammar, names):
        refuse_for_llama(grammar)
        return GbnfGrammar(text)
    return _translated(to_lark(grammar, tokens))


@functools.lru_cache(maxsize=256)
def _translated(lark: str) -> Constraint:
    return _checked(LLMatcher.grammar_from_lark(lark))


def named(name: str) -> Constraint:
    """One of the grammars that are shipped with llamapack."""
    raise GrammarError(f"there is no grammar named {name!r}")


def _limit_bytes(text: str, limit: int, what: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise GrammarError(f"{what} is not valid Unicode text") from error
    if size > limit:
        raise GrammarError(f"{what} has {size} bytes; {limit} is the most")


def _checked(definition: str) -> LLGuidanceGrammar:
    """Let llguidance build the grammar once, in the sandbox, and report what it says."""
    sandbox.check(definition)
    return LLGuidanceGrammar(definition)
