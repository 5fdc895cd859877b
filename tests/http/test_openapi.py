"""The description of the API: valid, complete, and in agreement with the models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate
from pydantic import BaseModel
from starlette.routing import Route

from config import ServeSettings
from server.app import create_app
from server.chat.request import ChatRequest
from server.requests.field_names import known_names
from server.requests.text_completion import TextCompletionRequest
from tests.support.fake_server import key_ring, make_server

pytestmark = pytest.mark.anyio


@pytest.fixture
async def description(client: httpx.AsyncClient) -> dict[str, Any]:
    response = await client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    described: dict[str, Any] = response.json()
    return described


def operations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in description["paths"].items():
        for method in item.keys() - {"parameters"}:
            yield f"{method} {path}", item[method]


def schema_of(description: dict[str, Any], name: str) -> dict[str, Any]:
    """A schema with the definitions that it refers to."""
    return {"$ref": f"#/components/schemas/{name}", "components": description["components"]}


async def test_it_is_valid(description: dict[str, Any]) -> None:
    validate(description)


async def test_every_route_is_described(description: dict[str, Any]) -> None:
    described = {
        (path, method.upper())
        for path, item in description["paths"].items()
        for method in item.keys() - {"parameters"}
    }
    served = {
        (re.sub(r":\w+}", "}", route.path), method)
        for route in create_app(make_server().context).routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert described == served


async def test_every_post_with_a_body_says_which(description: dict[str, Any]) -> None:
    without = {name for name, item in operations(description) if "requestBody" not in item}
    assert {name for name in without if name.startswith("post")} == {
        "post /props",
        "post /v1/responses/{id}/cancel",
        "post /api/blobs/{digest}",
    }


async def test_the_query_of_an_action_is_described(description: dict[str, Any]) -> None:
    (action,) = description["paths"]["/slots/{id}"]["post"]["parameters"]
    assert (action["name"], action["in"], action["required"]) == ("action", "query", True)
    assert action["schema"]["enum"] == ["save", "restore", "erase"]


async def test_operations_have_ids_and_words_of_their_own(description: dict[str, Any]) -> None:
    found = [item for _, item in operations(description)]
    assert len({item["operationId"] for item in found}) == len(found)
    assert all(item["summary"].endswith((".", "?")) for item in found)
    assert all({"200", "401", "500", "503"} <= item["responses"].keys() for item in found)


@pytest.mark.parametrize("model", [ChatRequest, TextCompletionRequest])
async def test_every_name_of_a_field_is_described(
    description: dict[str, Any], model: type[BaseModel]
) -> None:
    schema = description["components"]["schemas"][model.__name__]
    assert schema["properties"].keys() == known_names(model)


@pytest.mark.parametrize(
    ("field", "value", "is_right"),
    [
        ("prompt", "text", True),
        ("prompt", [1, "a", 2], True),
        ("prompt", ["a", [1, 2], {"prompt_string": "b"}], True),
        ("prompt", {"a": 1}, False),
        ("prompt", 5, False),
        ("stop", "a", True),
        ("stop", ["a", "b"], True),
        ("stop", [1], False),
        ("logit_bias", {"5": -1.5, "Hello": False}, True),
        ("logit_bias", [[5, 1], ["a", False]], True),
        ("logit_bias", [5], False),
        ("samplers", ["top_k"], True),
        ("samplers", "kt", True),
        ("max_tokens", 5, True),
        ("max_tokens", -2, False),
        ("max_completion_tokens", None, True),
        ("temperature", None, True),
        ("temperature", -1, False),
        ("priority", 1001, False),
        ("repeat_penalty", 0, False),
    ],
)
async def test_bodies_are_described_as_they_are_read(
    client: httpx.AsyncClient,
    description: dict[str, Any],
    field: str,
    value: object,
    is_right: bool,
) -> None:
    body = {"prompt": "a", field: value}
    validator = jsonschema.Draft202012Validator(schema_of(description, "CompletionRequest"))
    assert validator.is_valid(body) is is_right
    response = await client.post("/completion", json=body)
    assert (response.status_code == 200) is is_right


async def test_it_tells_of_the_prefix_and_whether_a_key_is_needed() -> None:
    server = make_server(ServeSettings(api_prefix="/llm"))
    app = create_app(server.context, keys=key_ring("k"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/llm/openapi.json")).status_code == 401
        described = (await client.get("/llm/openapi.json", headers={"X-Api-Key": "k"})).json()
    assert described["servers"] == [{"url": "/llm"}]
    assert {} not in described["security"]
    validate(described)


@pytest.mark.parametrize(
    ("names", "is_right"),
    [
        ({"n": 2, "n_cmpl": 2}, True),
        ({"n": 2, "n_cmpl": None}, True),
        ({"n": 1, "n_cmpl": 2}, False),
        ({"n": {}, "n_cmpl": 1}, False),
        ({"n_probs": 0, "logprobs": False}, False),
        ({"max_tokens": 5, "n_predict": 4}, False),
        ({"max_tokens": 5, "max_completion_tokens": 5, "n_predict": 5}, True),
    ],
)
async def test_two_names_of_a_field_have_to_agree(
    client: httpx.AsyncClient, names: dict[str, Any], is_right: bool
) -> None:
    response = await client.post("/completion", json={"prompt": "a", **names})
    assert (response.status_code == 200) is is_right
    if not is_right:
        assert "not both" in response.json()["error"]["message"]
