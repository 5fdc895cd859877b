"""Checks that constrained answers are valid: `python -m loadtests.valid_answers`.

The demo model (or another) gets each random schema once at temperature 1, as a chat that may think.
Every answer has to be JSON that the `jsonschema` package finds valid for its schema.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema

from loadtests.compare import default_ours
from loadtests.harness import loops
from loadtests.harness.scenario import OURS
from loadtests.harness.servers import Side, running
from loadtests.inflated import TARGET

Schema = dict[str, Any]

CLIENTS = 8
MAX_TOKENS = 2000
"""More tokens than the longest answer to any of the schemas."""
SLOT_TOKENS = 4096
TIMEOUT_S = 300.0
FORMATS = ("date", "time", "date-time", "uuid", "email", "ipv4", "ipv6")
PATTERNS = ("^[a-z]{2,5}$", "^[A-Z]{3}-[0-9]{4}$", "^(red|green|blue)$", "[0-9]")
WORDS = ("name", "age", "city", "tags", "owner", "price", "is_open", "ключ", "naïve key", 'a"b')
CHECKER = jsonschema.Draft202012Validator.FORMAT_CHECKER


def random_schema(rng: random.Random, depth: int = 3) -> Schema:
    """A schema whose answers have bounded length, with nearly every supported keyword."""
    makers = [_text, _number, _whole, _choice, _constant, _simple]
    if depth:
        makers += [_object, _object, _list, _tuple, _alternatives, _reference]
    return rng.choice(makers)(rng, depth)


def _text(rng: random.Random, depth: int) -> Schema:
    low = rng.randrange(4)
    return rng.choice(
        [
            {"type": "string", "minLength": low, "maxLength": low + rng.randrange(12)},
            {"type": "string", "format": rng.choice(FORMATS)},
            {"type": "string", "pattern": rng.choice(PATTERNS), "maxLength": 12},
        ]
    )


def _number(rng: random.Random, depth: int) -> Schema:
    """A number schema with at most two decimals, because a small model finds no end in longer
    numbers."""
    low = rng.randint(-50, 50)
    bounds = rng.choice([("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum")])
    high = low + rng.randint(2, 40) + 0.5
    return {"type": "number", bounds[0]: low, bounds[1]: high, "multipleOf": 0.25}


def _whole(rng: random.Random, depth: int) -> Schema:
    low = rng.randint(-1000, 1000)
    factor = rng.choice([{}, {"multipleOf": rng.choice([2, 5, 7])}])
    return {"type": "integer", "minimum": low, "maximum": low + rng.randint(10, 5000), **factor}


def _choice(rng: random.Random, depth: int) -> Schema:
    return {"enum": rng.sample(["a", "b c", 1, 2.5, True, None, [1, "x"], {"k": []}], 3)}


def _constant(rng: random.Random, depth: int) -> Schema:
    return {"const": rng.choice(["fixed", 0, -1.5, False, {"a": {"b": [None]}}])}


def _simple(rng: random.Random, depth: int) -> Schema:
    return {"type": rng.choice(["boolean", "null", ["boolean", "null"]])}


def _object(rng: random.Random, depth: int) -> Schema:
    names = rng.sample(WORDS, rng.randint(1, 4))
    required = [name for name in names if rng.random() < 0.6]
    return {
        "type": "object",
        "properties": {name: random_schema(rng, depth - 1) for name in names},
        "required": required,
        **rng.choice([{}, {"additionalProperties": False}]),
    }


def _list(rng: random.Random, depth: int) -> Schema:
    low = rng.randrange(3)
    items = random_schema(rng, depth - 1)
    return {"type": "array", "items": items, "minItems": low, "maxItems": low + rng.randrange(3)}


def _tuple(rng: random.Random, depth: int) -> Schema:
    items = [random_schema(rng, depth - 1) for _ in range(rng.randint(1, 3))]
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}


def _alternatives(rng: random.Random, depth: int) -> Schema:
    return {"anyOf": [random_schema(rng, depth - 1) for _ in range(rng.randint(2, 3))]}


def _reference(rng: random.Random, depth: int) -> Schema:
    """Two properties with one definition; only the outermost schema can hold it."""
    part = random_schema(rng, 0)
    if depth < 3:
        return part
    reference = {"$ref": "#/$defs/part"}
    properties = {
        "first": reference,
        "second": {"type": "array", "items": reference, "maxItems": 2},
    }
    return {
        "type": "object",
        "properties": properties,
        "required": ["first"],
        "$defs": {"part": part},
    }


def verdict(client: httpx.Client, index: int) -> str:
    """What is wrong with the answer to schema number `index`; empty if nothing is wrong."""
    rng = random.Random(f"schema {index}")
    schema = random_schema(rng)
    question = f"Give an example, number {index}."
    body = {
        "messages": [{"role": "user", "content": question}],
        "temperature": 1,
        "seed": index,
        "max_tokens": MAX_TOKENS,
        "reasoning_budget_tokens": 100,
        "chat_template_kwargs": {"enable_thinking": rng.random() < 0.5},
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
    }
    try:
        response = client.post("/v1/chat/completions", json=body)
    except httpx.HTTPError as error:
        return f"schema {json.dumps(schema)}: no answer: {error!r}"
    if response.status_code != 200:
        return f"schema {json.dumps(schema)}: HTTP {response.status_code}: {response.text[:500]}"
    choice = response.json()["choices"][0]
    try:
        answer = json.loads(choice["message"]["content"])
        jsonschema.Draft202012Validator(schema, format_checker=CHECKER).validate(answer)
    except (ValueError, jsonschema.ValidationError) as error:
        reason = str(error).splitlines()[0]
        return f"schema {json.dumps(schema)}: {choice}: {reason}"
    return "" if choice["finish_reason"] == "stop" else f"ended by {choice['finish_reason']}"


async def ask_all(side: Side, model: Path, count: int) -> list[str]:
    """The verdicts of `count` schemas, from one new server."""
    flags = ["-m", str(model), "-np", str(CLIENTS), "-c", str(CLIENTS * SLOT_TOKENS)]
    with running(side, flags) as server:
        await server.wait_ready()
        url = f"http://{server.address}"
        with (
            httpx.Client(base_url=url, timeout=TIMEOUT_S) as client,
            ThreadPoolExecutor(CLIENTS) as pool,
        ):
            return list(pool.map(lambda index: verdict(client, index), range(count)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if every answer was valid, otherwise 1."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.valid_answers", description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--model", type=Path, default=TARGET, metavar="GGUF")
    parser.add_argument("--ours", default=default_ours(), metavar="COMMAND")
    options = parser.parse_args(arguments)
    side = Side(OURS, tuple(shlex.split(options.ours)))
    verdicts = loops.run(ask_all(side, options.model, options.pairs))
    wrong = [line for line in verdicts if line]
    for line in wrong[:20]:
        print(line)
    print(f"{len(verdicts) - len(wrong)} of {len(verdicts)} answers are valid for their schema")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
