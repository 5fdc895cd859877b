"""The render endpoints give the very tokens that a completion computes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.openai.conftest import Serve
from tests.http.openai.test_chat_tools import TOOLS

HI = [{"role": "user", "content": "Hi <|user|> ü"}]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": TOOLS},
        {"reasoning_effort": "none"},
        {"messages": [*HI, {"role": "assistant", "content": "Half an"}]},
        {"add_generation_prompt": False},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ],
)
def test_a_chat(serve: Serve, fields: Any) -> None:
    live = serve()
    body = {"model": "m", "messages": HI} | fields
    rendered = live.post("/v1/chat/completions/render", **body)
    assert not live.generator.opened
    assert live.post("/v1/chat/completions", **body).status_code == 200
    [request] = live.generator.opened
    assert rendered.json() == {"token_ids": list(request.spec.prompt)}


@pytest.mark.parametrize(
    "prompt", ["a", ["a", "bé", "a"], [1, 2, 3], [[1, 2], [3]], ["a", [7, "b"]]]
)
def test_completions(serve: Serve, prompt: Any) -> None:
    live = serve()
    rendered = live.post("/v1/completions/render", prompt=prompt)
    assert live.post("/v1/completions", prompt=prompt).status_code == 200
    prompts = [list(request.spec.prompt) for request in live.generator.opened]
    assert rendered.json() == [{"token_ids": tokens} for tokens in prompts]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("chat/completions", {"messages": []}, "messages"),
        ("chat/completions", {"messages": HI, "top_logprobs": 2}, "top_logprobs"),
        ("completions", {}, "prompt"),
        ("completions", {"prompt": [-1]}, "prompt"),
        ("completions", {"prompt": "a", "best_of": 3}, "best_of"),
    ],
)
def test_a_wrong_body_names_its_field(serve: Serve, path: str, body: Any, param: str) -> None:
    answer = serve().post(f"/v1/{path}/render", **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
