"""`/v1/chat/completions/control`: what it takes and answers, and whose completions it acts on."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from grammars.constraint import ThinkingConstraint
from server.app import create_app
from tests.http.openai.conftest import Live, Serve
from tests.support.fake_server import key_ring, make_server

PATH = "/v1/chat/completions/control"
END = {"action": "reasoning_end"}
HI = [{"role": "user", "content": "Hi"}]


def test_the_id_of_a_stream_is_the_one_to_name(serve: Serve) -> None:
    live = serve()
    stream: Any = live.client.chat.completions.create(
        model="m",
        messages=HI,  # type: ignore[arg-type]
        stream=True,
        extra_body={"reasoning_control": True},
    )
    [id_] = {chunk.id for chunk in stream}
    [request] = live.generator.opened
    assert (request.handle.name, request.handle.can_end_thinking) == (id_, True)
    # Nothing but the control ends the thinking; without it there is no constraint at all.
    constraint = request.spec.constraint
    assert isinstance(constraint, ThinkingConstraint)
    assert (constraint.max_tokens, constraint.constraint) == (-1, None)
    live.post("/v1/chat/completions", messages=HI)
    assert live.generator.opened[-1].spec.constraint is None


@pytest.mark.parametrize(("refusal", "success"), [("", True), ("it is over", False)])
def test_the_answer(refusal: str, success: bool) -> None:
    server = make_server()
    server.engine.control_refusal = refusal
    client = TestClient(create_app(server.context, keys=key_ring("k")), headers={"x-api-key": "k"})
    answer = client.post(PATH, json={"id": "chatcmpl-1", **END})
    expected: dict[str, Any] = {"success": success}
    assert answer.status_code == 200
    assert answer.json() == expected | ({} if success else {"message": refusal})
    [(name, tenant)] = server.engine.thinking_ended
    assert name == "chatcmpl-1"
    assert tenant.startswith("api-key")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (END, "id"),
        ({"id": "", **END}, "id"),
        ({"id": 7, **END}, "id"),
        ({"id": "x"}, "action"),
        ({"id": "x", "action": "stop"}, "action"),
    ],
)
def test_a_wrong_body_names_its_field(serve: Serve, body: Any, param: str) -> None:
    live: Live = serve()
    answer = live.post(PATH, **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
