"""Reading a schema or a grammar takes time that is linear in its size, however it is crafted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from grammars import limits
from grammars.errors import GrammarError
from grammars.gbnf.lark import check, to_lark
from grammars.gbnf.llama import refuse_for_llama
from grammars.gbnf.parser import parse
from grammars.json_schema.checker import check_schema
from grammars.json_schema.references import Detacher
from grammars.json_schema.shapes import object_shapes
from grammars.relaxed import relaxed
from tests.support.steps import count_steps

Schema = dict[str, Any]

MOST = 3
"""How many times as many steps an input of double size may take; quadratic ones would take four.
"""


def ref(name: object) -> Schema:
    return {"$ref": f"#/$defs/d{name}"}


def chained(link: Callable[[int], Schema]) -> Callable[[int], Schema]:
    """A document whose first definition leads to the last one through all others."""

    def made(size: int) -> Schema:
        definitions = {f"d{i}": link(i) for i in range(size)}
        return {"$defs": {**definitions, f"d{size}": {"type": "null"}}, **ref(0)}

    return made


def one_key(size: int) -> Schema:
    """Many values below a key that is long itself."""
    return {"properties": {"k" * size: {"enum": list(range(size))}}}


SCHEMAS: dict[str, Callable[[int], Schema]] = {
    "$ref to $ref": chained(lambda i: ref(i + 1)),
    "allOf": chained(lambda i: {"allOf": [ref(i + 1)]}),
    "anyOf": chained(lambda i: {"anyOf": [ref(i + 1), ref(max(i - 1, 0))]}),
    "required": chained(
        lambda i: {"type": "object", "properties": {"a": ref(i + 1)}, "required": ["a"]}
    ),
    "items": chained(lambda i: {"type": "array", "items": ref(i + 1), "minItems": 1}),
    "circle": lambda size: {
        "$defs": {f"d{i}": {"anyOf": [ref((i + 1) % size), {}]} for i in range(size)},
        "anyOf": [ref(0), {"type": "null"}],
    },
    "properties of a chain": lambda size: {
        **chained(lambda i: ref(i + 1))(size),
        "type": "object",
        "properties": {f"p{i}": ref(i) for i in range(size)},
        "required": [f"p{i}" for i in range(size)],
    },
    "enum": lambda size: {"enum": [f"e{i}" for i in range(size)]},
    "a long key": one_key,
    "flags of a pattern": lambda size: {"patternProperties": {"(?" + "s" * size: {}}},
}


@pytest.mark.parametrize("make", SCHEMAS.values(), ids=SCHEMAS)
def test_schemas(make: Callable[[int], Schema]) -> None:
    once, twice = make(200), make(400)

    def checked(schema: Schema) -> int:
        return count_steps(lambda: check_schema(schema))

    assert checked(twice) < MOST * checked(once)


def chain(body: str, last: str = '"a"') -> Callable[[int], str]:
    """Rules of which each refers to the next one, as `{}`."""

    def made(size: int) -> str:
        rules = [f"r{i} ::= {body.format(f'r{i + 1}')}" for i in range(size)]
        return "\n".join(['root ::= r0 root "b" | "z"', *rules, f"r{size} ::= {last}", ""])

    return made


def alternatives(body: str, after: str = "") -> Callable[[int], str]:
    """Rules of one character each, and a rule that has all of them as alternatives."""

    def made(size: int) -> str:
        names = " | ".join(f"r{i}" for i in range(size))
        rules = [f"r{i} ::= {body.format(chr(0x4E00 + i))}" for i in range(size)]
        return "\n".join([f'root ::= ({names}) {after} root "b" | "z"', *rules, ""])

    return made


def groups(size: int) -> str:
    """Groups in groups, with many alternatives in the innermost one."""
    inner = " | ".join(f'"{chr(0x4E00 + i)}" "a"?' for i in range(size))
    for i in range(40):
        inner = f'({inner} | root "{i}") "{i}"?'
    return f'root ::= {inner} root "x" | "y"\n'


GRAMMARS: dict[str, Callable[[int], str]] = {
    "chain": chain("{}"),
    "chain with tokens": chain("{} <[1]>"),
    "chain of optional rules": chain("{}? root?", last='"a" root'),
    "chain that doubles": chain("{0} {0}"),
    "circle": chain('"a" {} "b" | "c"', last='"a" r0 "b"'),
    "circle that ends late": chain('"a" {}', last='r0 | "b"'),
    "alternatives": alternatives('"{}"+ "x"?'),
    "alternatives that exclude": alternatives('[^{0}]+ "{0}"'),
    "alternatives before a recursion": alternatives('"{}" <[1]>', after="(r0 | r1)?"),
    "stars": lambda size: "root ::= " + "[a-z]* " * size + 'root "b" | "z"\n',
    "a rule times its alternatives": lambda size: (
        'root ::= a "b" root | "x"\nx ::= "x"\n'
        f"a ::= {'x ' * size} ({' | '.join(f'x <[{i}]>' for i in range(size))} | x a)\n"
    ),
    "rules that nobody needs": lambda size: (
        'root ::= "a"\n' + "".join(f'r{i} ::= "aaaa"\n' for i in range(size))
    ),
    "groups": groups,
}


@pytest.mark.parametrize("make", GRAMMARS.values(), ids=GRAMMARS)
def test_grammars(make: Callable[[int], str]) -> None:
    def translated(text: str) -> int:
        return count_steps(lambda: to_lark(parse(text), None))

    once, twice = make(150), make(300)
    assert translated(twice) < MOST * translated(once)


@pytest.mark.parametrize("last", ["r0", '"a" r0', "r7 | r1"])
def test_rules_that_never_end(last: str) -> None:
    def refused(text: str) -> int:
        def run() -> None:
            with pytest.raises(GrammarError, match="no text ends"):
                check(parse(text))

        return count_steps(run)

    make = chain('"a" {}', last=last)
    assert refused(make(500)) < MOST * refused(make(250))


@pytest.mark.parametrize("make", GRAMMARS.values(), ids=GRAMMARS)
def test_grammars_for_llama(make: Callable[[int], str]) -> None:
    def checked(text: str) -> int:
        def run() -> None:
            with contextlib.suppress(GrammarError):
                refuse_for_llama(parse(text))

        return count_steps(run)

    once, twice = make(150), make(300)
    assert checked(twice) < MOST * checked(once)


@pytest.mark.parametrize("operators", ["?" * 1000, "{2}" * 400, "? * + " * 300])
@pytest.mark.parametrize("item", ['"a"', "root", "(root | [a-z])"])
def test_repetitions_of_repetitions(item: str, operators: str) -> None:
    with pytest.raises(GrammarError, match="repetitions of repetitions"):
        parse(f'root ::= "x" {item}{operators} "y"\n')


def test_repetitions_and_groups_as_deep_as_they_may_be() -> None:
    depth = limits.MAX_GROUP_DEPTH
    body = '"a" root "b" | "c"'
    for _ in range(depth):
        body = f'({body} "d" | "e")'
    text = f"root ::= {body}{'?' * depth}\n"
    grammar = parse(text)
    assert to_lark(grammar, None)
    check(grammar)


SHAPES: dict[str, Callable[[int], Schema]] = {
    "many parts": lambda size: {
        "allOf": [{"properties": {f"p{i}": {"type": "null"}}} for i in range(size)]
    },
    "required names": lambda size: {"allOf": [{"required": [f"p{i}"]} for i in range(size)]},
    "forbidden names": lambda size: {
        "properties": {f"p{i}": False for i in range(size)},
        "required": [f"q{i}" for i in range(size)],
    },
    "objects to choose from": lambda size: {
        "enum": [{f"p{i}": 1 for i in range(size)} for _ in range(9)]
    },
}


@pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)
def test_shapes_of_objects(make: Callable[[int], Schema]) -> None:
    once, twice = make(200), make(400)
    steps = count_steps(lambda: object_shapes(once))
    assert count_steps(lambda: object_shapes(twice)) < MOST * steps


def test_schemas_that_name_the_next_one_twice() -> None:
    definitions = {
        f"d{i}": {"properties": {f"p{i}": {}}, "allOf": [ref(i + 1), ref(i + 1)]} for i in range(45)
    }
    document = {"$defs": {**definitions, "d45": {}}, **ref(0)}
    assert count_steps(lambda: object_shapes(document)) < 200_000
    (shape,) = object_shapes(document)
    assert len(shape.members) == 45


@pytest.mark.parametrize(
    "schema",
    [
        {"patternProperties": {f"x{i}": {} for i in range(2000)}},
        {
            "properties": {f"p{i}": {} for i in range(2000)},
            "patternProperties": {f"x{i}": {} for i in range(600)},
        },
        {
            "required": [f"p{i}" for i in range(2000)],
            "allOf": [{"additionalProperties": {"minLength": i}} for i in range(600)],
        },
    ],
)
def test_objects_that_combine_too_much(schema: Schema) -> None:
    with pytest.raises(GrammarError, match="combines too many"):
        object_shapes(schema)


def spelled(size: int) -> Schema:
    """One definition, to which every reference has a spelling of its own."""
    bits = [f"{i:012b}" for i in range(size)]
    names = ["".join("a" if bit == "0" else "%61" for bit in word) for word in bits]
    return {
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in names],
        "$defs": {"a" * 12: {"enum": list(range(size))}},
    }


REFERENCES: dict[str, Callable[[int], Schema]] = {
    "anchors": lambda size: {
        "anyOf": [{"$ref": f"#a{i}"} for i in range(size)],
        "$defs": {f"d{i}": {"$anchor": f"a{i}"} for i in range(size)},
    },
    "spellings": spelled,
    "many": lambda size: {
        "anyOf": [ref(i) for i in range(size)],
        "$defs": {f"d{i}": {} for i in range(size)},
    },
    "chain": chained(lambda i: ref(i + 1)),
}


@pytest.mark.parametrize("make", REFERENCES.values(), ids=REFERENCES)
def test_parts_of_documents(make: Callable[[int], Schema]) -> None:
    def taken(document: Schema) -> int:
        part = {key: value for key, value in document.items() if key != "$defs"}
        return count_steps(lambda: Detacher(document).detached(part))

    once, twice = make(200), make(400)
    assert taken(twice) < MOST * taken(once)


def test_parts_inside_each_other_are_not_copied_without_end() -> None:
    schema: Schema = {"enum": list(range(5000))}
    for _ in range(30):
        schema = {"type": "object", "properties": {"a": schema}}
    part = {"anyOf": [{"$ref": "#" + "/properties/a" * i} for i in range(1, 30)]}
    with pytest.raises(GrammarError, match="values"):
        Detacher(schema).detached(part)


def names_of(below: Schema) -> Schema:
    """A schema of 1,000 properties that all have the same schema."""
    return {
        "propertyNames": {"enum": [f"p{i}" for i in range(1000)]},
        "additionalProperties": below,
    }


@pytest.mark.parametrize(
    "schema",
    [
        names_of({"enum": list(range(5000))}),
        names_of(names_of({"type": "null"})),
        names_of(names_of(names_of(names_of({"const": "x" * 9000})))),
    ],
)
def test_names_that_share_a_large_schema(schema: Schema) -> None:
    with pytest.raises(GrammarError, match="bytes"):
        check_schema(schema)
    assert count_steps(lambda: relaxed(schema)) < 60 * limits.MAX_SCHEMA_NODES


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("^(a+)+$", "a" * 40 + "b"),
        ("^(a|a)*$", "a" * 40 + "b"),
        ("^(?:a?){40}a*$", "a" * 40 + "b"),
        ("a*a*a*a*a*a*b", "a" * 2000),
        ("a?" * 30 + "a" * 30, "a" * 30),
        ("a*b", "a" * 9000),
        ("(a|a)" * 30 + "b", "a" * 40),
        ("(?x)^(a+) +$", "a" * 40 + "b"),
        ("(" * 3000 + ")" * 3000, "a"),
    ],
)
def test_patterns_that_take_long_to_search(pattern: str, name: str) -> None:
    schema = {"patternProperties": {pattern: {"type": "null"}}, "properties": {name: {}}}
    with pytest.raises(GrammarError, match="pattern"):
        object_shapes(schema)


@pytest.mark.parametrize(
    ("pattern", "is_found"),
    [("^x-", True), (r"^[a-z+*)]+-[a-z]+$", True), (r"\)+|(a)?q", False), ("^x-a{2,3}$", False)],
)
def test_usual_patterns_are_searched(pattern: str, is_found: bool) -> None:
    schema = {"patternProperties": {pattern: {"type": "null"}}, "properties": {"x-name": {}}}
    (shape,) = object_shapes(schema)
    assert (shape.members["x-name"] == {"type": "null"}) == is_found
