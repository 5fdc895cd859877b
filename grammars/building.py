"""Builds constraints out of untrusted sources. These functions run in confined processes.

All of them raise `GrammarError`.
"""

from __future__ import annotations

import functools
import itertools
import json
import time

import msgspec
from llguidance import LLMatcher, LLTokenizer

from grammars import limits
from grammars.constraint import GbnfGrammar, LLGuidanceGrammar
from grammars.errors import GrammarError
from grammars.gbnf import parser
from grammars.gbnf.lark import check, named_tokens, to_lark, uses_vocabulary
from grammars.gbnf.llama import refuse_for_llama
from grammars.json_schema.checker import check_schema, subschemas

_MAX_REASON = 2000
"""Maximum length of a reason in characters; an error may quote the whole grammar."""


class TokenIds(msgspec.Struct, frozen=True):
    """What a vocabulary says about the tokens that a grammar names."""

    ids: dict[str, list[int]]
    """The tokens of each name."""
    end_tokens: frozenset[int] = frozenset()

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The tokens of a name."""
        return self.ids[text]


class UnknownTokens(msgspec.Struct, frozen=True, tag="unknown"):
    """The names of tokens that have to be looked up in the vocabulary first."""

    names: list[str]


def build_schema(text: str, is_open: bool) -> LLGuidanceGrammar:
    """The constraint of a JSON Schema, given as JSON."""
    schema = json.loads(text)
    try:
        return _of_compact_schema(check_schema(schema, is_open=is_open))
    except GrammarError as error:
        if error.path is not None:
            raise
        raise GrammarError(error.message, _place_of(error.message, schema)) from error


def checked_schema(text: str) -> str:
    """A JSON Schema as compact JSON, if the schema can be enforced."""
    build_schema(text, False)
    return check_schema(json.loads(text))


def _of_compact_schema(source: str) -> LLGuidanceGrammar:
    return build(LLMatcher.grammar_from_json_schema(source))


def _place_of(message: str, schema: object) -> str:
    """JSON pointer to the innermost subschema that is refused with the same message.

    llguidance doesn't say where an error is. The search ends after `MAX_ERROR_SEARCH` subschemas,
    and after `MAX_SEARCH_SECONDS`.
    """
    end = time.process_time() + limits.MAX_SEARCH_SECONDS
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}  # type: ignore[index,operator]
    path = ""
    found: tuple[str, object] | None = ("", schema)
    left = limits.MAX_ERROR_SEARCH
    while found is not None and left > 0:
        path += found[0]
        parts = list(itertools.islice(subschemas(found[1]), left))
        left -= len(parts)
        in_time = itertools.takewhile(lambda _: time.process_time() < end, parts)
        found = next((part for part in in_time if _is_refused(part[1], shared, message)), None)
    return path


def _is_refused(schema: object, shared: dict[str, object], message: str) -> bool:
    if not isinstance(schema, dict):
        return False
    try:
        _of_compact_schema(check_schema({**shared, **schema}))
    except GrammarError as error:
        return error.message == message
    return False


def build_regex(pattern: str) -> LLGuidanceGrammar:
    """The constraint of a regular expression."""
    return build(LLMatcher.grammar_from_regex(pattern))


def build_choices(choices: list[str]) -> LLGuidanceGrammar:
    """The constraint of a list of texts."""
    # An upper-case name makes one lexeme with one automaton. A rule would make one per choice.
    return build_lark("start: CHOICE\nCHOICE: " + " | ".join(map(json.dumps, choices)))


def build_lark(text: str) -> LLGuidanceGrammar:
    """The constraint of a grammar in llguidance's dialect of Lark."""
    limits.check_bytes(text, limits.MAX_LARK_BYTES, "the grammar")
    return build(LLMatcher.grammar_from_lark(text))


def build_gbnf(
    text: str, has_vocabulary: bool, tokens: TokenIds | None
) -> LLGuidanceGrammar | GbnfGrammar | UnknownTokens:
    """The constraint of a GBNF grammar.

    `has_vocabulary` says that the names of tokens can be looked up. `tokens` is what is known.
    """
    grammar = parser.parse(text)
    order = check(grammar)
    if uses_vocabulary(grammar, order):
        if not has_vocabulary:
            refuse_for_llama(grammar)
            return GbnfGrammar(text)
        names = named_tokens(grammar, order)
        if tokens is None or not names <= tokens.ids.keys():
            return UnknownTokens(sorted(names))
    return _built(LLMatcher.grammar_from_lark(to_lark(grammar, tokens)), is_written=True)


def build(definition: str) -> LLGuidanceGrammar:
    """The constraint of what llguidance takes, after llguidance has built it once."""
    return _built(definition, is_written=False)


def _built(definition: str, *, is_written: bool) -> LLGuidanceGrammar:
    """`is_written` says that a client wrote the rules."""
    try:
        reason = _error_of(definition, is_written)
    except BaseException as error:  # llguidance's panics aren't of the class Exception
        reason = f"llguidance failed: {error}"
    if reason:
        raise GrammarError(reason[:_MAX_REASON])
    return LLGuidanceGrammar(definition, is_written)


def _error_of(definition: str, is_written: bool) -> str:
    parser_limits = limits.parser_limits(is_written=is_written)
    is_error, messages = LLMatcher.validate_grammar_with_warnings(definition, limits=parser_limits)
    if is_error:
        return messages[0].strip()
    # Some automata grow without bound; only a first step shows that.
    matcher = LLMatcher(_bytes_tokenizer(), definition, log_level=0, limits=parser_limits)
    matcher.compute_bitmask()
    error = matcher.get_error().strip()
    if "Token range end too large" in error:
        return ""  # the id may exist in the model; this vocabulary is small
    if "unknown special token" in error:
        return f"{error.split(';')[0]}; name tokens by their id, <[id]>"
    return error


@functools.cache
def _bytes_tokenizer() -> LLTokenizer:
    """A tokenizer whose vocabulary is the 256 bytes."""
    return LLTokenizer("byte")
