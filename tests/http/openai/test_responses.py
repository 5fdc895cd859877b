"""`/v1/responses`: what reaches the model, what comes back, what is stored, and errors."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from config import ServeSettings
from server.access.key_ring import read_keys
from server.app import create_app
from server.errors import Overloaded
from server.generation.types import StopCause
from server.openai.responses.conversation import seal
from tests.http.openai.conftest import Live, Serve
from tests.http.openai.test_chat_tools import accepts
from tests.support.fake_server import key_ring, make_server

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "name": "get_weather", "parameters": CITY}
SPACE = {"type": "namespace", "name": "maps", "tools": [{"type": "function", "name": "find"}]}
CALL = '<tool_call>\n{"name": "%s", "arguments": {"city": "Rome"}}\n</tool_call>'


def ask(live: Live, **fields: Any) -> Any:
    answer = live.post("/v1/responses", **{"model": "any", "input": "Hi"} | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def message(role: str, *texts: str, kind: str = "input_text") -> dict[str, Any]:
    return {"role": role, "content": [{"type": kind, "text": text} for text in texts]}


def called(**fields: str) -> dict[str, str]:
    return {"type": "function_call", "call_id": "c1", "name": "get_weather", **fields}


def output(value: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": "c1", "output": value}


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({}, "<|user|>Hi<|assistant|>"),
        ({"instructions": "Be kind"}, "<|system|>Be kind<|user|>Hi<|assistant|>"),
        (
            {"input": [message("developer", "D"), message("user", "a", "b")]},
            "<|system|>D<|user|>a\nb<|assistant|>",
        ),
        (
            {
                "input": [
                    {"role": "user", "content": "a"},
                    message("assistant", "b", kind="output_text"),
                    message("user", "c"),
                ]
            },
            "<|user|>a<|assistant|>b<|user|>c<|assistant|>",
        ),
        (
            {"input": [message("user", "a"), called(arguments='{"city": "Rome"}'), output("21")]},
            '<|user|>a<|assistant|>get_weather{"city": "Rome"}<|tool|>21<|assistant|>',
        ),
        (
            {
                "input": [
                    message("user", "a"),
                    called(arguments=""),
                    output([{"type": "input_text", "text": "21"}]),
                ]
            },
            "<|user|>a<|assistant|>get_weather{}<|tool|>21<|assistant|>",
        ),
        (
            {
                "input": [
                    message("user", "a"),
                    {"type": "reasoning", "summary": []},
                    {"type": "web_search_call", "id": "ws"},
                    message("user", "b"),
                ]
            },
            "<|user|>a<|user|>b<|assistant|>",
        ),
        ({"reasoning": {"effort": "none"}}, "<|user|>Hi<|assistant|><think></think>"),
    ],
)
def test_what_the_model_reads(serve: Serve, fields: Any, prompt: str) -> None:
    live = serve()
    ask(live, **fields)
    assert live.prompt() == prompt


@pytest.mark.parametrize(
    "reasoning",
    [
        {"content": [{"type": "reasoning_text", "text": "hm"}]},
        {"summary": [{"type": "summary_text", "text": "hm"}]},
        {"summary": [], "encrypted_content": seal("hm")},
        {"summary": [{"type": "summary_text", "text": "short"}], "encrypted_content": seal("hm")},
    ],
)
def test_thinking_that_comes_back(serve: Serve, reasoning: Any) -> None:
    template = "{% for m in messages %}{{ m.role }}:{{ m.reasoning_content or '' }};{% endfor %}"
    live = serve(template=template)
    ask(
        live,
        input=[message("user", "a"), {"type": "reasoning", **reasoning}, called(), output("x")],
    )
    assert live.prompt().startswith("user:;assistant:hm;")


@pytest.mark.parametrize("summary", [None, "auto"])
def test_thinking_is_an_item(serve: Serve, summary: str | None) -> None:
    live = serve(("<think>hm", "m</think>", "Yes"))
    include = ["reasoning.encrypted_content"]
    thinking, said = ask(live, reasoning={"summary": summary}, include=include)["output"]
    shown, empty = ("summary", "content") if summary else ("content", "summary")
    assert [part["text"] for part in thinking[shown]] == ["hmm"]
    assert thinking[empty] == []
    assert thinking["encrypted_content"] == seal("hmm")
    assert said["content"][0]["text"] == "Yes"


@pytest.mark.parametrize(
    ("tools", "told", "name", "namespace"),
    [
        ([WEATHER], "get_weather", "get_weather", None),
        ([SPACE, WEATHER], "maps__find", "find", "maps"),
        (
            [{"type": "web_search"}, {"type": "custom", "name": "patch"}, WEATHER],
            "get_weather",
            "get_weather",
            None,
        ),
    ],
)
def test_a_call(serve: Serve, tools: Any, told: str, name: str, namespace: str | None) -> None:
    live = serve((CALL % told,))
    answer = ask(live, tools=tools)
    [item] = answer["output"]
    assert (item["name"], item.get("namespace")) == (name, namespace)
    assert item["arguments"] == '{"city": "Rome"}'
    assert item["id"].startswith("fc_")
    assert item["call_id"].startswith("call_")
    assert "patch" not in live.prompt()


def test_a_call_in_a_namespace_comes_back(serve: Serve) -> None:
    live = serve()
    call = {"type": "function_call", "call_id": "c1", "name": "find", "namespace": "maps"}
    ask(live, tools=[SPACE], input=[message("user", "a"), call, output("x")])
    assert "maps__find{}" in live.prompt()


@pytest.mark.parametrize(
    ("choice", "is_free", "is_told"),
    [
        ("auto", True, True),
        ("required", False, True),
        ("none", True, False),
        ({"type": "function", "name": "get_weather"}, False, True),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "get_weather"}],
            },
            False,
            True,
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "other"}],
            },
            True,
            False,
        ),
    ],
)
def test_the_choice_of_tools(serve: Serve, choice: Any, is_free: bool, is_told: bool) -> None:
    live = serve((CALL % "get_weather",))
    ask(live, tools=[WEATHER], tool_choice=choice)
    if live.generator.opened[-1].spec.constraint is not None:
        assert accepts(live, "Hello") is is_free
    assert ("get_weather" in live.prompt()) is is_told


@pytest.mark.parametrize(
    ("form", "is_free"),
    [
        ({}, True),
        ({"format": {"type": "text"}}, True),
        ({"format": {"type": "json_object"}}, False),
        ({"format": {"type": "json_schema", "name": "a", "schema": CITY, "strict": True}}, False),
    ],
)
def test_the_format_is_enforced(serve: Serve, form: Any, is_free: bool) -> None:
    live = serve()
    ask(live, text=form)
    assert (live.generator.opened[-1].spec.constraint is None) is is_free


def test_a_limit(serve: Serve) -> None:
    answer = ask(serve(cause=StopCause.LIMIT), max_output_tokens=3)
    assert answer["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["output"][-1]["status"] == "incomplete"


def test_usage_and_what_was_asked(serve: Serve) -> None:
    live = serve()
    answer = ask(live, metadata={"a": "b"}, temperature=0.5)
    num = len(live.generator.opened[0].spec.prompt)
    assert answer["usage"] == {
        "input_tokens": num,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": num - 2},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": num + 3,
    }
    assert (answer["metadata"], answer["temperature"]) == ({"a": "b"}, 0.5)
    counted = live.post("/v1/responses/input_tokens", model="m", input="Hi").json()
    assert counted == {"object": "response.input_tokens", "input_tokens": num}


def test_logprobs_are_those_of_the_text(serve: Serve) -> None:
    answer = ask(serve(), top_logprobs=2)
    logprobs = answer["output"][0]["content"][0]["logprobs"]
    assert [entry["token"] for entry in logprobs] == ["Hello", ",", " world"]
    assert [len(entry["top_logprobs"]) for entry in logprobs] == [2] * 3


def test_a_conversation_goes_on(serve: Serve) -> None:
    live = serve()
    first = ask(live, instructions="Once")
    second = ask(live, input="And?", previous_response_id=first["id"])
    # Instructions hold for their own response alone.
    assert live.prompt() == "<|user|>Hi<|assistant|>Hello, world<|user|>And?<|assistant|>"
    refers = [{"type": "item_reference", "id": second["output"][0]["id"]}, message("user", "Well?")]
    ask(live, input=refers)
    assert live.prompt() == "<|assistant|>Hello, world<|user|>Well?<|assistant|>"


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        ((6000, 6000, 10), 2),
        ((6000, 6000, 6000, 10), 2),
        ((9000, 900, 9000, 800), 1),
        ((30, 40), 2),
    ],
)
def test_a_long_conversation_is_cut_at_its_beginning(
    serve: Serve, sizes: tuple[int, ...], kept: int
) -> None:
    live = serve()
    turns = [message("user", f"{number}" * size) for number, size in enumerate(sizes)]
    answer = live.post("/v1/responses", input=turns, instructions="Rule", truncation="auto")
    assert answer.status_code == 200, answer.text
    texts = [f"{number}" * size for number, size in enumerate(sizes)][-kept:]
    assert live.prompt() == "<|system|>Rule<|user|>" + "<|user|>".join(texts) + "<|assistant|>"


def test_a_last_message_that_is_too_long_is_refused(serve: Serve) -> None:
    turns = [message("user", "a"), message("user", "b" * 20_000)]
    answer = serve().post("/v1/responses", input=turns, truncation="auto")
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_stored_responses(serve: Serve) -> None:
    live = serve()
    client = TestClient(live._app)
    kept, other = ask(live), ask(live, store=False)
    path = f"/v1/responses/{kept['id']}"
    assert client.get(path).json() == kept
    [item] = client.get(f"{path}/input_items").json()["data"]
    assert (item["role"], item["content"]) == ("user", "Hi")
    assert client.get(f"/v1/responses/{other['id']}").status_code == 404
    assert client.delete(path).json()["deleted"] is True
    assert client.get(path).status_code == 404
    lost = live.post("/v1/responses", input="x", previous_response_id=kept["id"])
    assert (lost.status_code, lost.json()["error"]["param"]) == (400, "previous_response_id")


def test_a_key_sees_its_own_alone() -> None:
    app = create_app(make_server().context, keys=key_ring("a", "b"))
    mine, others = (TestClient(app, headers={"authorization": f"Bearer {key}"}) for key in "ab")
    made = mine.post("/v1/responses", json={"input": "Hi"}).json()
    path = f"/v1/responses/{made['id']}"
    assert mine.get(path).status_code == 200
    for answer in (
        others.get(path),
        others.get(f"{path}/input_items"),
        others.delete(path),
        others.post("/v1/responses", json={"input": "x", "previous_response_id": made["id"]}),
        others.post(
            "/v1/responses",
            json={"input": [{"type": "item_reference", "id": made["output"][0]["id"]}]},
        ),
    ):
        assert answer.status_code in (400, 404)
        assert "Hello" not in answer.text


def test_keys_without_names_are_told_by_their_secrets() -> None:
    context, ring = make_server().context, key_ring("a", "b")
    client = TestClient(create_app(context, keys=ring))
    made = client.post("/v1/responses", json={"input": "Hi"}, headers={"x-api-key": "b"}).json()
    ring.replace(read_keys(ServeSettings(api_key=("b", "c"))), 0.0)  # their numbers have changed
    path = f"/v1/responses/{made['id']}"
    assert client.get(path, headers={"x-api-key": "b"}).status_code == 200
    assert client.get(path, headers={"x-api-key": "c"}).status_code == 404


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0"),
        ({"input": [{"type": "function_call", "name": "x"}]}, "input.0.call_id"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input"),
        ({"conversation": "c"}, "conversation"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools.0.name"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "b"}},
            "tool_choice.name",
        ),
        ({"text": {"format": {"type": "odd"}}}, "text.format"),
        ({"previous_response_id": "resp_x"}, "previous_response_id"),
    ],
)
def test_a_wrong_body_names_its_field(serve: Serve, fields: Any, param: str) -> None:
    live = serve()
    answer = live.post("/v1/responses", **{"model": "m", "input": "Hi"} | fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param, answer.text
    assert not live.generator.opened


@pytest.mark.parametrize(
    ("script", "fields", "status", "code"),
    [
        ({}, {"input": "x" * 20_000}, 400, "context_length_exceeded"),
        ({"fail_on_open": Overloaded("full", retry_after=1)}, {}, 429, "rate_limit_exceeded"),
    ],
)
def test_codes_that_clients_act_on(
    serve: Serve, script: Any, fields: Any, status: int, code: str
) -> None:
    answer = serve(**script).post("/v1/responses", **{"model": "m", "input": "Hi"} | fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_the_official_client_reads_a_stream(serve: Serve) -> None:
    live = serve(("<think>hm</think>", "Hello", CALL % "get_weather"))
    tools: Any = [WEATHER]
    with live.client.responses.stream(model="m", input="Hi", tools=tools) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    assert final.output_text == "Hello"
