"""`POST /v1/grammars/check`: what can be enforced, and where it can't."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

PATH = "/v1/grammars/check"


@pytest.mark.parametrize(
    "body",
    [
        {"json_schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
        {"json_schema": {}},
        {"json_schema": True},
        {"grammar": 'root ::= "a" | "b"'},
        {"grammar": "yes_no"},
        {"regex": "[a-z]+"},
        {"regex": "a", "grammar": None},
    ],
)
async def test_what_can_be_enforced(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    response = await client.post(PATH, json=body)
    assert (response.status_code, response.json()) == (200, {"valid": True})


@pytest.mark.parametrize(
    ("body", "place", "word"),
    [
        (
            {"json_schema": {"properties": {"a/b": {"uniqueItems": True}}}},
            "/properties/a~1b/uniqueItems",
            "uniqueItems",
        ),
        ({"json_schema": {"type": "text"}}, "", "must be one or more"),
        ({"json_schema": 3}, "", ""),
        ({"grammar": 'root ::= "a\n'}, "1:", ""),
        ({"grammar": "root ::= item\n"}, None, "item"),
        ({"grammar": "no_such_grammar"}, None, "no_such_grammar"),
        ({"regex": "(a"}, None, ""),
    ],
)
async def test_what_can_not_be_enforced(
    client: httpx.AsyncClient, body: dict[str, Any], place: str | None, word: str
) -> None:
    response = await client.post(PATH, json=body)
    answer = response.json()
    assert (response.status_code, answer["valid"]) == (200, False)
    assert word in answer["message"]
    assert answer["message"]
    if place is not None:
        assert answer["place"].startswith(place)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "grammar"),
        ({"grammar": 'root ::= "a"', "regex": "a"}, "regex"),
        ({"json_schema": {}, "grammar": 'root ::= "a"'}, "grammar"),
        ({"grammar": ""}, "grammar"),
        ({"grammar": 3}, "grammar"),
        ({"regex": ["a"]}, "regex"),
    ],
)
async def test_what_asks_for_nothing_or_for_two(
    client: httpx.AsyncClient, body: dict[str, Any], param: str
) -> None:
    response = await client.post(PATH, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
