"""The answer is valid for the schema, for any output of the model."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from grammars import compiler
from grammars.errors import GrammarError
from scheduler.constraint import Matcher, TokenVocabulary, create_matcher

Schema = Any

names = st.sampled_from(["a", "b", "name", "a name", 'quo"ted', "naïve", "x/y~z", "items", ""])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1000, 1000),
    st.floats(-100, 100).map(lambda number: round(number, 3)),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x24F), max_size=8),
)


def bounds(low: str, high: str, most: int) -> st.SearchStrategy[Schema]:
    """One bound, both bounds or none, in the right order."""
    pairs = st.tuples(st.integers(0, most), st.integers(0, most)).map(sorted)
    both = pairs.map(lambda pair: {low: pair[0], high: pair[1]})
    return st.one_of(st.just({}), both, both.map(lambda b: {high: b[high]}))


def merged(*parts: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    """One schema made of several schemas with different keywords."""
    return st.tuples(*parts).map(
        lambda found: {key: v for part in found for key, v in part.items()}
    )


strings = st.one_of(
    merged(st.just({"type": "string"}), bounds("minLength", "maxLength", 12)),
    st.sampled_from(
        [
            {"type": "string", "pattern": "^[a-z]{2,5}-[0-9]+$"},
            {"type": "string", "pattern": "^(foo|bar)*$", "maxLength": 9},
            {"type": "string", "pattern": "[A-Z]", "maxLength": 10},
            {"type": "string", "format": "date"},
            {"type": "string", "format": "uuid"},
            {"type": "string", "format": "ipv4"},
            {"type": "string", "format": "email", "maxLength": 30},
        ]
    ),
)
numbers = st.one_of(
    merged(
        st.sampled_from([{"type": "integer"}, {"type": "number"}]),
        st.one_of(st.just({}), st.integers(-50, 50).map(lambda n: {"minimum": n})),
        st.one_of(st.just({}), st.integers(51, 5000).map(lambda n: {"maximum": n})),
    ),
    merged(
        st.sampled_from([{"type": "integer"}]),
        st.integers(1, 12).map(lambda n: {"multipleOf": n}),
    ),
    st.just({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
)
leaves = st.one_of(
    strings,
    numbers,
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.lists(scalars, min_size=1, max_size=4).map(lambda values: {"enum": values}),
    scalars.map(lambda value: {"const": value}),
    st.just({"type": ["string", "null"], "maxLength": 5}),
    st.just({"type": "string", "title": "A title", "description": "said", "default": ""}),
)


def objects(below: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    def build(properties: dict[str, Schema], chosen: list[bool], more: Schema | None) -> Schema:
        required = [name for name, is_in in zip(properties, chosen, strict=False) if is_in]
        schema = {"type": "object", "properties": properties, "required": required}
        return schema if more is None else {**schema, "additionalProperties": more}

    return st.builds(
        build,
        st.dictionaries(names, below, max_size=4),
        st.lists(st.booleans(), max_size=4),
        st.one_of(st.just(False), st.none(), below),
    )


def arrays(below: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    items = below.map(lambda schema: {"items": schema})
    prefix = st.lists(below, min_size=1, max_size=3).map(
        lambda schemas: {"prefixItems": schemas, "items": False}
    )
    return st.one_of(
        merged(st.just({"type": "array"}), items, bounds("minItems", "maxItems", 4)),
        merged(st.just({"type": "array"}), prefix),
    )


def unions(below: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    one_of = st.tuples(strings, numbers).map(lambda pair: {"oneOf": [*pair]})
    return st.one_of(st.lists(below, min_size=1, max_size=3).map(lambda s: {"anyOf": s}), one_of)


schemas = st.recursive(
    leaves, lambda below: st.one_of(objects(below), arrays(below), unions(below)), max_leaves=8
)

TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
            },
            "required": ["value"],
            "additionalProperties": False,
        }
    },
}


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=st.one_of(schemas, st.just(TREE)), seed=st.integers(0, 1 << 32))
def test_random_answers_are_valid(
    schema: Schema, seed: int, demo_vocabulary: TokenVocabulary
) -> None:
    try:
        constraint = compiler.from_json_schema(schema, is_open=True)
    except GrammarError as error:
        # The merged enumeration may be empty, or the pattern may contradict the length.
        assume("nsatisfiable" not in error.message)
        raise
    matcher = create_matcher(constraint, demo_vocabulary)
    answer = random_answer(matcher, demo_vocabulary, np.random.default_rng(seed))
    jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.FormatChecker(["date", "uuid", "ipv4", "email"])
    ).validate(json.loads(answer))


def random_answer(
    matcher: Matcher, vocabulary: TokenVocabulary, rng: np.random.Generator, patience: int = 40
) -> str:
    """Sample from random logits until the answer ends, as the engine does.

    After `patience` tokens, closing tokens become more likely. So a text without a maximum length
    has an expected length of fifty tokens.
    """
    closing = np.array([piece[-1:] in (b'"', b"}", b"]") for piece in vocabulary.pieces])
    closing[list(vocabulary.end_tokens)] = True
    answer: list[int] = []
    while len(answer) < 1000:
        forced = matcher.forced_tokens()
        if not forced:
            logits = rng.standard_normal(vocabulary.n_tokens, dtype=np.float32)
            logits[closing] += 5.0 * (len(answer) > patience)
            forced = [choose(matcher, logits)]
        for token in forced:
            matcher.accept(token)
        if forced[-1] in vocabulary.end_tokens:
            return b"".join(vocabulary.pieces[token] for token in answer).decode()
        answer += forced
    raise AssertionError("the answer didn't end")


def choose(matcher: Matcher, logits: np.ndarray) -> int:
    """The best token if it is allowed, otherwise the best allowed token."""
    token = int(logits.argmax())
    if matcher.allows(token):
        return token
    matcher.apply_mask(logits)
    token = int(logits.argmax())
    assert matcher.allows(token)
    return token
