from __future__ import annotations

import json
import random

import httpx
import jsonschema
import pytest

from grammars import compiler
from loadtests.valid_answers import CHECKER, FORMATS, random_schema, verdict


def answering(content: str, finish: str = "stop") -> httpx.Client:
    """A server that gives the same answer to all requests."""
    choice = {"message": {"content": content}, "finish_reason": finish}
    reply = httpx.Response(200, json={"choices": [choice]})
    return httpx.Client(base_url="http://x", transport=httpx.MockTransport(lambda _: reply))


@pytest.mark.parametrize("seed", range(40))
def test_schemas_are_valid_and_supported(seed: int) -> None:
    schema = random_schema(random.Random(seed))
    jsonschema.Draft202012Validator.check_schema(schema)
    compiler.from_json_schema(schema)


def test_all_formats_are_checked() -> None:
    assert set(FORMATS) <= set(CHECKER.checkers)


def test_schemas_differ() -> None:
    schemas = {json.dumps(random_schema(random.Random(seed))) for seed in range(40)}
    assert len(schemas) > 30


def test_an_answer_that_is_wrong_is_told() -> None:
    wrong = [verdict(answering("42"), index) for index in range(30)]
    assert any(wrong)
    assert all("schema" in line for line in wrong if line)
    assert "schema" in verdict(answering('{"a": '), 1)


def test_what_was_cut_or_refused_is_told() -> None:
    refused = httpx.MockTransport(lambda _: httpx.Response(400, text="no such thing"))
    with httpx.Client(base_url="http://x", transport=refused) as client:
        assert "no such thing" in verdict(client, 1)
