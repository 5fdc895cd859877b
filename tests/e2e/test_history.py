"""Answers of the demo model that are cut, sent back and continued."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.processes import DEADLINE, Server, serving

USER = {"role": "user", "content": "What is the capital of France?"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def answer(server: Server, *messages: Any, **fields: Any) -> dict[str, Any]:
    """The message that the model answers with."""
    body = {"messages": [USER, *messages], "temperature": 0, **fields}
    response = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=DEADLINE)
    assert response.status_code == 200, response.text
    message: dict[str, Any] = response.json()["choices"][0]["message"]
    return message


def joined(field: str, *messages: dict[str, Any]) -> str:
    return "".join(message.get(field) or "" for message in messages)


@pytest.mark.parametrize("max_tokens", [1, 3, 6, 9, 13, 19, 25])
def test_a_cut_answer_goes_on_as_if_it_were_never_cut(server: Server, max_tokens: int) -> None:
    whole = answer(server)
    assert whole["reasoning_content"]
    cut = answer(server, max_tokens=max_tokens)
    assert cut["content"] != whole["content"]
    rest = answer(server, cut)
    for field in ("reasoning_content", "content"):
        assert joined(field, cut, rest) == whole[field]
