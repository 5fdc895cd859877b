"""Bodies of every route: made from the API's description, with some values that are wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from loadtests.fuzz.family import Outcome, Place, posted
from loadtests.fuzz.mutation import mutated
from loadtests.trials.hostile_bodies import ODD, valid_body

_DEPTH = 3
_LEFT_OUT = ("n_predict", "max_tokens", "max_completion_tokens", "n", "best_of", "stream")
"""Fields that decide how long an answer is: short ones leave time for more inputs."""

WORDS = (
    *(b"null", b"true", b"-1", b"0", b"2147483647", b"1e308", b"[]", b"{}", b'""', b'"\\ud800"'),
    *(b'"stop":', b'"grammar":', b'"logit_bias":', b'"samplers":', b'"tools":', b'"messages":'),
    *(
        b'"prompt":',
        b'"stream":true',
        b'"n_probs":',
        b'"cache_salt":',
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
    ),
    *(b'"speculative.n_max":', b'"lora":', b'"id_slot":', b'"chat_template_kwargs":', b"\\u0000"),
)


def paths(place: Place) -> list[str]:
    """All routes that take a body, without those that change the server."""
    described = place.openapi["paths"]
    found = [path for path, methods in described.items() if "post" in methods]
    return [path for path in found if "{" not in path and "props" not in path]


@st.composite
def _body(draw: DrawFn, place: Place) -> bytes:
    path = draw(st.sampled_from(paths(place)))
    body: dict[str, Any] = {"prompt": "x", "input": "x", **valid_body(path)}
    for name, schema in _fields(place, path).items():
        if name not in _LEFT_OUT and draw(st.integers(0, 9)) == 0:
            body[name] = draw(_value(place.openapi, schema, _DEPTH))
    for name in draw(st.lists(st.sampled_from(sorted(body)), max_size=2)):
        body[name] = draw(st.sampled_from(ODD))
    payload = json.dumps(short(body)).encode("utf-8", "surrogatepass")
    return path.encode() + b"\n" + payload


def _fields(place: Place, path: str) -> dict[str, Any]:
    content = place.openapi["paths"][path]["post"].get("requestBody", {}).get("content", {})
    schema = _resolved(place.openapi, content.get("application/json", {}).get("schema", {}))
    fields: dict[str, Any] = schema.get("properties", {})
    return fields


def short(body: dict[str, Any]) -> dict[str, Any]:
    """The body with a limit of its answer, unless the limit is what was made wrong."""
    return {"n_predict": 4, "max_tokens": 4, **body}


def _resolved(openapi: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = openapi["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _value(openapi: dict[str, Any], schema: Any, depth: int) -> SearchStrategy[Any]:
    """Values that a schema describes, mostly."""
    odd = st.sampled_from(ODD)
    schema = _resolved(openapi, schema if isinstance(schema, dict) else {})
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return st.one_of(*(_value(openapi, choice, depth) for choice in choices))
    if "enum" in schema:
        return st.one_of(st.sampled_from(schema["enum"]), odd)
    if depth and schema.get("type") == "array":
        return st.lists(_value(openapi, schema.get("items", {}), depth - 1), max_size=5)
    if depth and schema.get("type") == "object":
        parts = schema.get("properties") or {"a": schema.get("additionalProperties", {})}
        values = {name: _value(openapi, part, depth - 1) for name, part in parts.items()}
        return st.fixed_dictionaries({}, optional=values)
    return _scalar(schema)


def _scalar(schema: dict[str, Any]) -> SearchStrategy[Any]:
    low, high = schema.get("minimum", -(2**31)), schema.get("maximum", 2**31 - 1)
    simple: dict[str, SearchStrategy[Any]] = {
        "integer": st.integers(int(low), max(int(low), int(high))),
        "number": st.floats(allow_nan=False, width=32),
        "string": st.text(max_size=40),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return simple.get(schema.get("type", ""), st.sampled_from(ODD))


class Bodies:
    """Bodies; an input's first line is the route."""

    name = "bodies"
    is_served = True

    def strategy(self, place: Place, seeds: Sequence[bytes]) -> SearchStrategy[bytes]:
        """Described bodies, and mutations of described and kept ones."""
        return st.one_of(_body(place), self.mutations(paths(place), seeds))

    def mutations(self, routes: Sequence[str], seeds: Sequence[bytes]) -> SearchStrategy[bytes]:
        """Bytes that are mutated from valid bodies of routes, and from the seeds."""
        examples = [
            path.encode() + b"\n" + json.dumps(short(valid_body(path))).encode() for path in routes
        ]
        return mutated([*examples, *seeds], WORDS)

    async def attempt(self, data: bytes, place: Place) -> Outcome:
        """Send the body to its route, or to a completion if the route was mutated."""
        path, _, body = data.partition(b"\n")
        known = path.decode(errors="replace") in paths(place)
        return await posted(place, path.decode() if known else "/completion", body)
