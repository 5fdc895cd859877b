"""Work that a request causes before its answer: schemas, grammars and texts that take long."""

from __future__ import annotations

import asyncio

from loadtests.trials.attacks.attack import (
    CHAT,
    KEYS,
    NATIVE,
    Attack,
    Setting,
    Target,
    chat,
    completion,
    leaves,
    posts,
    schema_chat,
)

NUMBER = 2
AT_ONCE = 40
_KEYS = Setting(keys=KEYS)
"""Honest answers wait in one queue with the innocent client's, unless there are keys."""


def chain(length: int, link: str = "ref") -> dict[str, object]:
    """A schema whose definitions refer to the next one, in one of several ways."""

    def to(number: int) -> dict[str, object]:
        ref = {"$ref": f"#/$defs/d{number}"}
        wrapped: dict[str, dict[str, object]] = {
            "ref": dict(ref),
            "allOf": {"allOf": [ref]},
            "anyOf": {"anyOf": [ref, {"type": "null"}]},
            "items": {"type": "array", "items": ref, "maxItems": 1},
            "properties": {"type": "object", "properties": {"a": ref}},
        }
        return wrapped[link]

    definitions = {f"d{number}": to(number + 1) for number in range(length)}
    return {"$defs": {**definitions, f"d{length}": {"type": "integer"}}, **to(0)}


def many_properties(count: int) -> dict[str, object]:
    """An object with many optional properties."""
    properties = {f"property_{number}": {"type": "string"} for number in range(count)}
    return {"type": "object", "properties": properties}


def _gbnf_chain(rules: int) -> str:
    lines = [f'r{n} ::= r{n + 1} | "x" r{n + 1}' for n in range(rules)]
    return "\n".join(["root ::= r0", *lines, f'r{rules} ::= "end"'])


def _tools(count: int, schema: object) -> dict[str, object]:
    functions = [{"name": f"f{n}", "parameters": schema, "strict": True} for n in range(count)]
    tools = [{"type": "function", "function": function} for function in functions]
    return chat(tools=tools, tool_choice="required")


async def _different_schemas(target: Target) -> None:
    """Schemas of which none has been compiled before."""
    schemas = [{**many_properties(2000), "title": str(number)} for number in range(AT_ONCE)]
    await asyncio.gather(*(target.post(CHAT, schema_chat(schema)) for schema in schemas))


async def _different_enumerations(target: Target) -> None:
    """Large constraints that wait in the engine at the same time."""
    schemas = [{"enum": [f"value {n} of {number}" for n in range(12_000)]} for number in range(64)]
    await asyncio.gather(*(target.post(CHAT, schema_chat(schema)) for schema in schemas))


_PATTERN = {"type": "string", "pattern": "^(a|b)*a(a|b){2000}$"}
_CHAIN = schema_chat(chain(2500))

ATTACKS = (
    Attack(NUMBER, "40 schemas of 2,500 references, left", leaves(CHAT, _CHAIN, AT_ONCE)),
    Attack(NUMBER, "40 schemas of 2,000 properties", _different_schemas),
    Attack(
        NUMBER,
        "100 kB of U+0000 to tokenize",
        posts("/tokenize", {"content": "\0" * 100_000}, AT_ONCE),
    ),
    *(
        Attack(
            NUMBER,
            f"40 schemas of references within {link}",
            posts(CHAT, schema_chat(chain(1500, link)), AT_ONCE),
            _KEYS,
        )
        for link in ("allOf", "anyOf", "items", "properties")
    ),
    Attack(
        NUMBER,
        "40 grammars of 4,000 chained rules",
        posts(NATIVE, completion(grammar=_gbnf_chain(4000)), AT_ONCE),
    ),
    Attack(
        NUMBER,
        "32 tools with chained references each",
        posts(CHAT, _tools(32, chain(300)), 10),
    ),
    Attack(
        NUMBER,
        "40 patterns of many repetitions",
        posts(
            NATIVE,
            completion(json_schema={"type": "string", "pattern": "^(a|b)*a(a|b){2000}$"}),
            AT_ONCE,
        ),
    ),
    Attack(
        NUMBER,
        "40 enumerations of 20,000 values",
        posts(CHAT, schema_chat({"enum": [f"value {n}" for n in range(20_000)]}), AT_ONCE),
    ),
    Attack(NUMBER, "64 enumerations of 12,000 values, all different", _different_enumerations),
    Attack(
        NUMBER,
        "40 texts of 2 MB to tokenize, left",
        leaves("/tokenize", {"content": "lorem ipsum, dolor sit. " * 80_000}, AT_ONCE),
    ),
    Attack(
        NUMBER,
        "40 lists of 300,000 tokens to join",
        posts("/detokenize", {"tokens": [100] * 300_000}, AT_ONCE),
    ),
    Attack(
        NUMBER,
        "20 prompts of 600,000 token ids",
        posts(NATIVE, completion(prompt=[5] * 600_000), 20),
    ),
    Attack(
        NUMBER,
        "20 chats of 20,000 messages to render",
        posts("/apply-template", {"messages": [{"role": "user", "content": "x"}] * 20_000}, 20),
    ),
)
