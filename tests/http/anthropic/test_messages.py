"""`/v1/messages`: what reaches the model, what comes back, and errors."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from starlette.testclient import TestClient

from config import ServeSettings
from server.app import create_app
from server.errors import Overloaded, Unavailable
from server.generation.types import StopCause
from tests.http.openai.conftest import Live, Serve
from tests.http.openai.test_chat_tools import accepts
from tests.support.fake_server import key_ring, make_server

USER: Any = [{"role": "user", "content": "Hi"}]
CALL = (
    "See:",
    '<tool_call>\n{"name": "get_',
    'weather", "arguments": {"city": "Rome"}}\n</tool_call>',
)
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"name": "get_weather", "input_schema": WEATHER}]


def ask(live: Live, **fields: Any) -> Any:
    body = {"model": "any", "max_tokens": 100, "messages": USER} | fields
    answer = live.post("/v1/messages", **body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def text(content: str) -> dict[str, str]:
    return {"type": "text", "text": content}


def result(content: object, **fields: object) -> dict[str, object]:
    return {"type": "tool_result", "tool_use_id": "t1", "content": content, **fields}


USE = {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Rome"}}
CALLED = [*USER, {"role": "assistant", "content": [USE]}]
CALLED_TEXT = '<|user|>Hi<|assistant|>get_weather{"city": "Rome"}'
BILLING = text("x-anthropic-billing-header: cc_version=1; cch=a1b2c;")


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({}, "<|user|>Hi<|assistant|>"),
        ({"system": "Be kind"}, "<|system|>Be kind<|user|>Hi<|assistant|>"),
        ({"system": [BILLING, text("A"), text("B")]}, "<|system|>A\nB<|user|>Hi<|assistant|>"),
        ({"system": [BILLING]}, "<|user|>Hi<|assistant|>"),
        (
            {"messages": [*USER, {"role": "system", "content": "Left: 5"}, *USER]},
            "<|user|>Hi<|system|>Left: 5<|user|>Hi<|assistant|>",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            text("a"),
                            {"type": "mid_conv_system", "content": "be brief"},
                            text("b"),
                        ],
                    }
                ]
            },
            "<|user|>a<|system|>be brief<|user|>b<|assistant|>",
        ),
        ({"messages": [*USER, *USER]}, "<|user|>Hi\nHi<|assistant|>"),
        (
            {"messages": [*CALLED, {"role": "user", "content": [result("21 C"), text("And?")]}]},
            f"{CALLED_TEXT}<|tool|>21 C<|user|>And?<|assistant|>",
        ),
        (
            {
                "messages": [
                    *CALLED,
                    {"role": "user", "content": [result("no city", is_error=True)]},
                ]
            },
            f"{CALLED_TEXT}<|tool|>Error: no city<|assistant|>",
        ),
        (
            {"messages": [*CALLED, {"role": "user", "content": [result([text("a"), text("b")])]}]},
            f"{CALLED_TEXT}<|tool|>a\nb<|assistant|>",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "document",
                                "title": "T",
                                "source": {"type": "text", "data": "body"},
                            }
                        ],
                    }
                ]
            },
            "<|user|><document>\nT\nbody\n</document><|assistant|>",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "search_result",
                                "title": "T",
                                "source": "http://x",
                                "content": [text("found")],
                            }
                        ],
                    }
                ]
            },
            "<|user|><search_result>\nT\nhttp://x\nfound\n</search_result><|assistant|>",
        ),
        (
            {"messages": [*USER, {"role": "assistant", "content": "I be"}]},
            "<|user|>Hi<|assistant|>I be",
        ),
        (
            {
                "messages": [
                    *USER,
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "thinking", "thinking": "hm", "signature": "x"},
                            {"type": "redacted_thinking", "data": "x"},
                            text("Yes"),
                        ],
                    },
                    *USER,
                ]
            },
            "<|user|>Hi<|assistant|>Yes<|user|>Hi<|assistant|>",
        ),
    ],
)
def test_what_the_model_reads(serve: Serve, fields: Any, prompt: str) -> None:
    live = serve()
    ask(live, thinking={"type": "adaptive"}, **fields)
    assert live.prompt() == prompt


def test_marks_of_the_cache_change_nothing_that_the_model_reads(serve: Serve) -> None:
    live = serve()
    mark = {"cache_control": {"type": "ephemeral"}}
    plain = {"system": [text("S")], "messages": [{"role": "user", "content": [text("a")]}]}
    marked = {
        "system": [text("S") | mark],
        "messages": [{"role": "user", "content": [text("a") | mark]}],
        "tools": [TOOLS[0] | mark],
    }
    first = ask(live, **plain, tools=TOOLS)["usage"]
    second = ask(live, **marked)["usage"]
    assert live.prompt(0) == live.prompt(1)
    num = len(live.generator.opened[0].spec.prompt)
    # Two tokens are cached. What is computed counts as written if the request marks the cache.
    counts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    assert [first[name] for name in counts] == [num - 2, 0, 2]
    assert [second[name] for name in counts] == [0, num - 2, 2]


MARK = {"cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    "fields",
    [
        MARK,
        {"system": [text("S") | MARK]},
        {"messages": [{"role": "user", "content": [text("a"), text("b") | MARK]}]},
        {"messages": [*CALLED, {"role": "user", "content": [result("x") | MARK]}]},
        {"messages": [*CALLED, {"role": "user", "content": [result([text("x") | MARK])]}]},
        {"messages": [*USER, {"role": "assistant", "content": [USE | MARK]}, *USER]},
        {"tools": [TOOLS[0] | MARK]},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"} | MARK]},
    ],
)
def test_the_cache_is_marked_anywhere(serve: Serve, fields: Any) -> None:
    usage = ask(serve(), **fields)["usage"]
    assert (usage["input_tokens"], usage["cache_creation_input_tokens"] > 0) == (0, True)


@pytest.mark.parametrize(
    ("thinking", "is_on"),
    [
        (None, False),
        ({"type": "disabled"}, False),
        ({"type": "adaptive"}, True),
        ({"type": "enabled", "budget_tokens": 2048}, True),
    ],
)
def test_thinking_is_off_unless_asked_for(serve: Serve, thinking: Any, is_on: bool) -> None:
    live = serve()
    ask(live, **({} if thinking is None else {"thinking": thinking}))
    assert live.prompt().endswith("<think></think>") is not is_on


@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_thinking_is_a_block_of_its_own(serve: Serve, display: str) -> None:
    live = serve(("<think>hm", "m</think>", "Yes"))
    answer = ask(live, thinking={"type": "adaptive", "display": display})
    thinking, said = answer["content"]
    assert thinking["type"] == "thinking"
    assert thinking["thinking"] == ("hmm" if display == "summarized" else "")
    assert thinking["signature"]
    assert said == text("Yes")
    assert answer["usage"]["output_tokens_details"]["thinking_tokens"] > 0


def test_a_call(serve: Serve) -> None:
    answer = ask(serve(CALL), tools=TOOLS)
    said, call = answer["content"]
    assert said["text"] == "See:"
    assert call["id"].startswith("toolu_")
    assert (call["name"], call["input"]) == ("get_weather", {"city": "Rome"})
    assert answer["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("choice", "is_required"),
    [
        ({"type": "auto"}, False),
        ({"type": "any"}, True),
        ({"type": "tool", "name": "get_weather"}, True),
        ({"type": "any", "disable_parallel_tool_use": True}, True),
    ],
)
def test_the_choice_of_tools(serve: Serve, choice: Any, is_required: bool) -> None:
    live = serve(CALL[1:] + CALL[1:] if "disable_parallel_tool_use" in choice else CALL[1:])
    answer = ask(live, tools=TOOLS, tool_choice=choice)
    assert accepts(live, "Hello") is not is_required
    assert [block["type"] for block in answer["content"]] == ["tool_use"]


def test_no_tools_by_choice(serve: Serve) -> None:
    live = serve()
    ask(live, tools=TOOLS, tool_choice={"type": "none"})
    assert "get_weather" not in live.prompt()


def test_server_tools_are_left_out(serve: Serve) -> None:
    live = serve()
    ask(live, tools=[{"type": "web_search_20250305", "name": "web_search"}, *TOOLS])
    assert "web_search" not in live.prompt()
    assert "get_weather" in live.prompt()


@pytest.mark.parametrize("field", ["output_config", "output_format"])
def test_a_schema_is_enforced(serve: Serve, field: str) -> None:
    live = serve()
    form = {"type": "json_schema", "schema": WEATHER}
    ask(live, **{field: {"format": form} if field == "output_config" else form})
    assert live.generator.opened[-1].spec.constraint is not None


@pytest.mark.parametrize(
    ("script", "fields", "reason", "word"),
    [
        ({}, {}, "end_turn", None),
        ({"cause": StopCause.LIMIT}, {}, "max_tokens", None),
        ({}, {"max_tokens": 0}, "max_tokens", None),
        ({}, {"stop_sequences": [","]}, "stop_sequence", ","),
    ],
)
def test_why_it_stopped(serve: Serve, script: Any, fields: Any, reason: str, word: Any) -> None:
    answer = ask(serve(**script), **fields)
    assert (answer["stop_reason"], answer["stop_sequence"]) == (reason, word)


def test_sampling(serve: Serve) -> None:
    live = serve()
    ask(live, temperature=0.5, top_p=0.25, top_k=7, metadata={"user_id": "u"})
    sampling = live.generator.opened[-1].spec.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.25, 7)


@pytest.mark.parametrize(
    "extra", [{}, {"tools": TOOLS}, {"system": "S"}, {"thinking": {"type": "adaptive"}}]
)
def test_the_count_is_that_of_the_answer(serve: Serve, extra: Any) -> None:
    live = serve()
    usage = ask(live, **extra)["usage"]
    counted = live.post("/v1/messages/count_tokens", model="any", messages=USER, **extra).json()
    used = usage["input_tokens"] + usage["cache_read_input_tokens"]
    assert counted == {"input_tokens": used}


@pytest.mark.parametrize(
    "extra",
    [
        *({}, {"tools": TOOLS}, {"system": "S"}, {"thinking": {"type": "adaptive"}}),
        {"stream": False, "metadata": {"user_id": "u"}, "temperature": 0.5},
    ],
)
def test_the_rendered_tokens_are_those_of_the_answer(serve: Serve, extra: Any) -> None:
    live = serve()
    body = {"model": "any", "messages": USER, "max_tokens": 9, **extra}
    rendered = live.post("/v1/messages/render", **body)
    assert not live.generator.opened
    ask(live, **extra)
    [request] = live.generator.opened
    assert rendered.json() == {"token_ids": list(request.spec.prompt)}


def test_what_cannot_be_rendered_is_refused_in_anthropics_shape(serve: Serve) -> None:
    refused = serve().post("/v1/messages/render", model="any", messages=[])
    assert refused.status_code == 400
    assert refused.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            "messages.0.content.0",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "odd"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [USE]}]}, "messages.0.content.0"),
        (
            {"messages": [*USER, {"role": "assistant", "content": [text("a"), result("x")]}]},
            "messages.1.content.1",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "document", "source": {"type": "url"}}]}
                ]
            },
            "messages.0.content.0.source",
        ),
        (
            {"messages": [{"role": "user", "content": [result([{"type": "image"}])]}]},
            "messages.0.content.0.content.0",
        ),
        ({"tools": [{"name": "a"}]}, "tools.0.input_schema"),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools.0.name"),
        ({"tools": TOOLS * 2}, "tools.0.name"),
        (
            {
                "tools": [
                    {"type": "x"},
                    {
                        "name": "a",
                        "strict": True,
                        "input_schema": {"properties": {"p": {"uniqueItems": True}}},
                    },
                ]
            },
            "tools.1.input_schema",
        ),
        ({"tool_choice": {"type": "tool", "name": "b"}, "tools": TOOLS}, "tool_choice.name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"thinking": {"type": "often"}}, "thinking.type"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "odd"}}}},
            "output_config.format.schema",
        ),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_a_wrong_body_names_its_field(serve: Serve, fields: Any, place: str) -> None:
    live = serve()
    answer = live.post(
        "/v1/messages", **({"model": "m", "max_tokens": 9, "messages": USER} | fields)
    )
    assert answer.status_code == 400
    body = answer.json()
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert f"'{place}" in body["error"]["message"], body
    assert body["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]
    assert not live.generator.opened


def test_a_prompt_that_is_too_long_says_so_in_the_words_that_clients_look_for(serve: Serve) -> None:
    live = serve()
    messages = [{"role": "user", "content": "x" * 20_000}]
    for path in ("/v1/messages",):
        answer = live.post(path, model="m", max_tokens=9, messages=messages)
        assert answer.status_code == 400
        message = answer.json()["error"]["message"]
        assert message.startswith("prompt is too long: ")
        assert message.endswith(" tokens > 10000 maximum")


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Overloaded("full", retry_after=3, reason="queue_full"), 529, "overloaded_error"),
        (Overloaded("your limit", retry_after=3), 429, "rate_limit_error"),
        (Unavailable("loading"), 503, "overloaded_error"),
    ],
)
def test_a_refusal_has_anthropics_status(serve: Serve, error: Any, status: int, kind: str) -> None:
    live = serve(fail_on_open=error)
    answer = live.post("/v1/messages", model="m", max_tokens=9, messages=USER)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "kind"),
    [
        ("POST", "/v1/messages", {}, 401, "authentication_error"),
        ("POST", "/v1/messages/count_tokens", {"x-api-key": "no"}, 401, "authentication_error"),
        ("GET", "/v1/messages", {"x-api-key": "k"}, 405, "invalid_request_error"),
        ("POST", "/v1/messages/odd", {"authorization": "Bearer k"}, 404, "not_found_error"),
    ],
)
def test_errors_before_the_handler(
    method: str, path: str, headers: Any, status: int, kind: str
) -> None:
    app = create_app(make_server().context, keys=key_ring("k"))
    answer = TestClient(app).request(method, path, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == kind
    assert answer.json()["type"] == "error"


def test_other_routes_keep_openais_errors() -> None:
    app = create_app(make_server(ServeSettings(api_prefix="/v1/messages")).context)
    client = TestClient(app)
    assert client.post("/v1/messages/v1/messages", json={}).json()["type"] == "error"
    assert "type" not in client.post("/v1/messages/completion", json={}).json()


def test_a_stream_that_fails_ends_with_an_error_event(serve: Serve) -> None:
    live = serve(fail_after=(1, Overloaded("full", retry_after=1, reason="queue_full")))
    body = {"model": "m", "max_tokens": 9, "messages": USER, "stream": True}
    answer = live.post("/v1/messages", **body)
    *_, last = answer.text.strip().split("\n\n")
    name, data = last.split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["type"] == "overloaded_error"


def test_the_official_client_reads_a_stream(serve: Serve) -> None:
    live = serve(CALL)
    client = anthropic.Anthropic(
        base_url=live.url,
        api_key="none",
        max_retries=0,
        http_client=anthropic.DefaultHttpxClient(verify=False),
    )
    with (
        client,
        client.messages.stream(model="m", max_tokens=99, messages=USER, tools=TOOLS) as stream,
    ):
        names = [event.type for event in stream if event.type.startswith(("message", "content"))]
        message = stream.get_final_message()
    assert names[0] == "message_start"
    assert names[-1] == "message_stop"
    assert [block.type for block in message.content] == ["text", "tool_use"]
    assert message.usage.cache_read_input_tokens == 2
