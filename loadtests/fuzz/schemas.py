"""JSON Schemas: sent as the format of an answer, and as parameters of a tool."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from loadtests.fuzz.family import Outcome, Place, posted
from loadtests.fuzz.mutation import with_mutations

NAMES = ("a", "b", "d0", "d1", "d2", "$ref", "\u4e2d", "")
WORDS = (
    *(b'"$ref":"#"', b'"$ref":"#/$defs/d0"', b'"$defs":', b'"type":"object"', b'"properties":'),
    *(b'"anyOf":[', b'"allOf":[', b'"oneOf":[', b'"not":', b'"if":', b'"pattern":"(a|b)*"', b"{}"),
    *(b'"enum":[', b'"const":', b'"items":', b'"prefixItems":[', b'"additionalProperties":'),
    *(b'"minItems":1000', b'"maxLength":100000', b'"minimum":-1e300', b'"multipleOf":0.001'),
    *(
        b'"patternProperties":',
        b'"required":["a"]',
        b'"format":"date-time"',
        b"[",
        b"]",
        b"}",
        b"{",
    ),
    *(b"null", b"true", b"1e400", b"18446744073709551616", b",", b":"),
)
_PATTERNS = ("a*", "^(a|b)*$", "[a-z]{1,500}", "(a*)*b", "\\d+", "^.{3,}$", "(?=a)b", "\\p{L}")
_SIZES = (0, 1, 2, 30, 1000, 10**6, -1)


def _leaf() -> SearchStrategy[dict[str, Any]]:
    size = st.sampled_from(_SIZES)
    return st.one_of(
        st.sampled_from(("string", "integer", "number", "boolean", "null", "object", "array")).map(
            lambda kind: {"type": kind}
        ),
        st.builds(lambda n: {"$ref": f"#/$defs/d{n}"}, st.integers(0, 3)),
        st.builds(lambda p: {"type": "string", "pattern": p}, st.sampled_from(_PATTERNS)),
        st.builds(lambda a, b: {"type": "string", "minLength": a, "maxLength": b}, size, size),
        st.builds(lambda a, b: {"type": "integer", "minimum": a, "maximum": b}, size, size),
        st.builds(
            lambda f: {"type": "string", "format": f},
            st.sampled_from(("date", "uuid", "email", "x")),
        ),
        st.lists(st.sampled_from(("a", 1, None, 1.5, True, [], {})), max_size=30).map(
            lambda values: {"enum": values}
        ),
    )


def _wider(inner: SearchStrategy[Any]) -> SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=4)
    named = st.dictionaries(st.sampled_from(NAMES), inner, max_size=6)
    return st.one_of(
        st.builds(lambda v, k: {k: v}, several, st.sampled_from(("anyOf", "allOf", "oneOf"))),
        st.builds(
            lambda p, r: {"type": "object", "properties": p, "required": r},
            named,
            st.lists(st.sampled_from(NAMES), max_size=3, unique=True),
        ),
        st.builds(
            lambda v, n: {"type": "array", "items": v, "minItems": n},
            inner,
            st.sampled_from(_SIZES),
        ),
        st.builds(lambda v: {"type": "array", "prefixItems": v, "items": False}, several),
        st.builds(lambda v: {"type": "object", "additionalProperties": v}, inner),
        st.builds(lambda v: {"type": "object", "patternProperties": {"^a": v}}, inner),
        st.builds(lambda v: {"not": v}, inner),
    )


@st.composite
def _schema(draw: DrawFn) -> bytes:
    schemas = st.recursive(_leaf(), _wider, max_leaves=12)
    schema = dict(draw(schemas))
    schema["$defs"] = {f"d{number}": draw(schemas) for number in range(draw(st.integers(0, 4)))}
    return json.dumps(schema).encode()


class Schemas:
    """Schemas; the text may also be no JSON any more."""

    name = "schemas"
    is_served = True

    def strategy(self, place: Place, seeds: Sequence[bytes]) -> SearchStrategy[bytes]:
        """Nested schemas with definitions, and mutations."""
        return with_mutations(_schema(), seeds, WORDS)

    async def attempt(self, data: bytes, place: Place) -> Outcome:
        """Ask for an answer that follows the schema; every third input is a tool's."""
        if sum(data) % 3:
            body = b'{"prompt":"x","n_predict":8,"seed":1,"json_schema":' + data + b"}"
            return await posted(place, "/completion", body)
        body = (
            b'{"messages":[{"role":"user","content":"x"}],"max_tokens":8,"seed":1,'
            b'"tool_choice":"required","tools":[{"type":"function","function":'
            b'{"name":"f","parameters":' + data + b"}}]}"
        )
        return await posted(place, "/v1/chat/completions", body)
