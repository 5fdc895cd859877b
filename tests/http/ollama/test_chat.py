"""`/api/chat`: what reaches the model, what comes back, and errors."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import ollama
import pytest
from starlette.testclient import TestClient

from config import ServeSettings
from server.app import create_app
from server.errors import EngineFailed, Overloaded, Unavailable
from server.generation.types import StopCause
from tests.http.openai.conftest import Live, Serve
from tests.support.fake_server import make_server

HI: Any = [{"role": "user", "content": "Hi"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
CALL = (
    "See:",
    '<tool_call>\n{"name": "get_',
    'weather", "arguments": {"city": "Rome"}}\n</tool_call>',
)
TWO_CALLS = (
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>',
    '\n<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call>',
)
THOUGHT = ("<think>", "hm", "</think>", "So")
USE = {"function": {"name": "get_weather", "arguments": {"city": "Rome"}}}
CALLED = [*HI, {"role": "assistant", "content": "", "tool_calls": [USE]}]


def ask(live: Live, **fields: Any) -> Any:
    answer = live.post("/api/chat", **{"model": "m", "messages": HI, "stream": False, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(live: Live, status: int = 400, **fields: Any) -> str:
    answer = live.post("/api/chat", **{"model": "m", "messages": HI, "stream": False, **fields})
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["error"]
    return str(body["error"])


def lines(answer: Any) -> list[Any]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({}, "<|user|>Hi<|assistant|>"),
        (
            {"messages": [{"role": "system", "content": "Be kind"}, *HI]},
            "<|system|>Be kind<|user|>Hi<|assistant|>",
        ),
        (
            {"messages": [*CALLED, {"role": "tool", "content": "21 C"}]},
            '<|user|>Hi<|assistant|>get_weather{"city": "Rome"}<|tool|>21 C<|assistant|>',
        ),
        ({"messages": [*HI, {"role": "assistant", "content": "So"}]}, "<|user|>Hi<|assistant|>So"),
        (
            {"messages": [{"role": "user", "content": None, "images": None}]},
            "<|user|><|assistant|>",
        ),
        ({"tools": TOOLS}, "<tool_call>get_weather<|user|>Hi<|assistant|>"),
        ({"think": False}, "<|user|>Hi<|assistant|><think></think>"),
        ({"think": True}, "<|user|>Hi<|assistant|>"),
    ],
)
def test_what_reaches_the_model(serve: Serve, fields: Any, prompt: str) -> None:
    live = serve()
    ask(live, **fields)
    assert live.prompt() == prompt


@pytest.mark.parametrize("effort", ["low", "medium", "high", "max"])
def test_levels_of_thinking_reach_the_template(serve: Serve, effort: str) -> None:
    template = "{{ reasoning_effort }}{{ enable_thinking }}<think></think>"
    live = serve(template=template)
    ask(live, think=effort)
    assert live.prompt().startswith({"max": "high"}.get(effort, effort) + "True")


@pytest.mark.parametrize("think", [True, "low"])
def test_a_model_that_cannot_think_says_so(serve: Serve, think: Any) -> None:
    live = serve(template="{{ messages[0].content }}")
    assert refusal(live, think=think, model="mario") == '"mario" does not support thinking'
    assert ask(live, think=False)["message"]["content"] == "Hello, world"


def test_results_find_their_calls(serve: Serve) -> None:
    """By the tool's name, else in their order; ids of the client stay."""
    template = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.name }}="
        "{{ c.id }}{{ c.function.arguments }};{% endfor %}"
        "{% if m.role == 'tool' %}{{ m.tool_call_id }}:{{ m.content }};{% endif %}{% endfor %}"
    )
    live = serve(template=template)
    calls: Any = [{"function": {"name": name, "arguments": {}}} for name in ("a", "b", "a")]
    results = [
        {"role": "tool", "content": "1", "tool_name": "b"},
        {"role": "tool", "content": "2", "tool_name": "a"},
        {"role": "tool", "content": "3"},
    ]
    ask(live, messages=[*HI, {"role": "assistant", "tool_calls": calls}, *results])
    ids = [part.partition("=")[2].removesuffix("{}") for part in live.prompt().split(";")[:3]]
    assert len(set(ids)) == 3
    assert live.prompt().split(";")[3:6] == [f"{ids[1]}:1", f"{ids[0]}:2", f"{ids[2]}:3"]


def test_an_answer_in_one_piece(serve: Serve) -> None:
    answer = ask(serve(), model="mario:7b")
    assert answer["model"] == "mario:7b"
    assert answer["message"] == {"role": "assistant", "content": "Hello, world"}
    assert (answer["done"], answer["done_reason"]) == (True, "stop")
    assert answer["created_at"].endswith("Z")
    counts = (answer["prompt_eval_count"], answer["eval_count"])
    assert counts == (len("<|user|>Hi<|assistant|>") + 1, 3)
    assert answer["prompt_eval_duration"] == 10_000_000
    assert answer["eval_duration"] == 15_000_000
    assert 0 <= answer["load_duration"] <= answer["total_duration"]


def test_a_stream_is_the_default(serve: Serve) -> None:
    answer = serve().post("/api/chat", model="m", messages=HI)
    *pieces, last = lines(answer)
    assert [piece["message"]["content"] for piece in pieces] == ["Hello", ",", " world"]
    assert {piece["done"] for piece in pieces} == {False}
    assert all("done_reason" not in piece for piece in pieces)
    assert last["message"] == {"role": "assistant", "content": ""}
    assert (last["done"], last["done_reason"], last["eval_count"]) == (True, "stop", 3)


@pytest.mark.parametrize("stream", [True, False])
def test_thinking_comes_apart(serve: Serve, stream: bool) -> None:
    answer = serve(THOUGHT).post("/api/chat", model="m", messages=HI, stream=stream)
    found = lines(answer) if stream else [answer.json()]
    assert "".join(one["message"].get("thinking", "") for one in found) == "hm"
    assert "".join(one["message"]["content"] for one in found) == "So"


@pytest.mark.parametrize("stream", [True, False])
def test_calls_come_whole_with_objects(serve: Serve, stream: bool) -> None:
    answer = serve(CALL).post("/api/chat", model="m", messages=HI, tools=TOOLS, stream=stream)
    found = lines(answer) if stream else [answer.json()]
    [call] = [call for one in found for call in one["message"].get("tool_calls", [])]
    assert call["function"] == {"index": 0, "name": "get_weather", "arguments": {"city": "Rome"}}
    assert call["id"].startswith("call_")
    assert "".join(one["message"]["content"] for one in found) == "See:"
    assert found[-1]["done_reason"] == "stop"


def test_several_calls_are_numbered(serve: Serve) -> None:
    calls = ask(serve(TWO_CALLS), tools=TOOLS)["message"]["tool_calls"]
    assert [call["function"]["index"] for call in calls] == [0, 1]
    assert [call["function"]["arguments"] for call in calls] == [{"city": "Rome"}, {}]
    assert calls[0]["id"] != calls[1]["id"]


def test_a_limit_that_cuts_a_call(serve: Serve) -> None:
    pieces = ('<tool_call>\n{"name": "get_weather", "arguments": {"city": "Ro',)
    answer = ask(serve(pieces, cause=StopCause.LIMIT), tools=TOOLS)
    assert answer["done_reason"] == "length"
    [call] = answer["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"


@pytest.mark.parametrize("stream", [True, False])
def test_logprobs(serve: Serve, stream: bool) -> None:
    answer = serve().post(
        "/api/chat", model="m", messages=HI, stream=stream, logprobs=True, top_logprobs=2
    )
    found = lines(answer) if stream else [answer.json()]
    entries = [entry for one in found for entry in one.get("logprobs", [])]
    assert [entry["token"] for entry in entries] == ["Hello", ",", " world"]
    assert entries[0]["logprob"] == -0.5
    assert [top["token"] for top in entries[0]["top_logprobs"]] == ["a", "b"]
    assert "logprobs" not in ask(serve())


def test_no_character_breaks_a_line(serve: Serve) -> None:
    """Clients of Python's httpx also break lines at these characters."""
    odd = "a\x85b\u2028c\u2029d\n\r\x0b\x1ce"
    answer = serve((odd,)).post("/api/chat", model="m", messages=HI)
    assert [one["message"]["content"] for one in lines(answer)] == [odd, ""]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 0.5, "top_k": 3, "top_p": 0.5, "min_p": 0.1}, {"top_k": 3, "min_p": 0.1}),
        ({"seed": 7}, {"seed": 7}),
        ({"typical_p": 0.5, "repeat_last_n": 5}, {"typical_p": 0.5, "repeat_last_n": 5}),
        (
            {"repeat_penalty": 1.5, "presence_penalty": 0.5, "frequency_penalty": 0.25},
            {"repeat_penalty": 1.5, "presence_penalty": 0.5, "frequency_penalty": 0.25},
        ),
        (
            {"mirostat": 2, "mirostat_tau": 4.0, "mirostat_eta": 0.2},
            {"mirostat": 2, "mirostat_tau": 4.0, "mirostat_eta": 0.2},
        ),
    ],
)
def test_options_of_sampling(serve: Serve, options: Any, expected: Any) -> None:
    live = serve()
    ask(live, options=options)
    sampling = live.generator.opened[-1].spec.sampling
    assert {name: getattr(sampling, name) for name in expected} == expected


def max_tokens(live: Live, **options: Any) -> int:
    ask(live, options=options)
    return live.generator.opened[-1].spec.max_tokens


def test_options_of_length(serve: Serve) -> None:
    live = serve()
    n_prompt = len("<|user|>Hi<|assistant|>") + 1
    assert max_tokens(live, num_predict=5) == 5
    assert max_tokens(live, num_predict=-1) == max_tokens(live) == -1
    assert max_tokens(live, num_predict=-2) == 10_000 - n_prompt
    assert max_tokens(live, num_ctx=50) == 50 - n_prompt
    assert max_tokens(live, num_ctx=50, num_predict=5) == 5
    assert max_tokens(live, num_ctx=50, num_predict=500) == 50 - n_prompt
    assert max_tokens(live, num_ctx=1_000_000, num_predict=500) == 500
    assert max_tokens(live, num_ctx=0) == -1


@pytest.mark.parametrize("stop", ["world", ["x", "world"]])
def test_stop_strings(serve: Serve, stop: Any) -> None:
    live = serve()
    ask(live, options={"stop": stop})
    assert live.generator.opened[-1].stop[-1] == "world"


@pytest.mark.parametrize(
    ("options", "name", "hint"),
    [
        ({"num_gpu": 20}, "num_gpu", "--gpu-layers"),
        ({"num_thread": 3}, "num_thread", "--threads"),
        ({"num_batch": 7}, "num_batch", "--batch-size"),
        ({"use_mmap": False}, "use_mmap", "--no-mmap"),
        ({"low_vram": True}, "low_vram", "--no-kv-offload"),
        ({"tfs_z": 0.5}, "tfs_z", "tail-free"),
        ({"penalize_newline": False}, "penalize_newline", "penalties"),
        ({"vocab_only": [1]}, "vocab_only", "whole"),
    ],
)
def test_options_that_cannot_be_honoured(serve: Serve, options: Any, name: str, hint: str) -> None:
    error = refusal(serve(), options=options)
    assert f"'options.{name}'" in error
    assert hint in error


def test_options_that_ask_for_what_is_there(serve: Serve) -> None:
    """Some clients send all options, with the values that ask for nothing."""
    defaults = {
        "num_gpu": -1,
        "main_gpu": 0,
        "num_thread": 0,
        "num_batch": ServeSettings().batch_size,
        "use_mmap": True,
        "use_mlock": False,
        "low_vram": False,
        "f16_kv": True,
        "tfs_z": 1.0,
        "penalize_newline": True,
        "vocab_only": False,
        "numa": False,
        "num_keep": 4,
        "something_else": "x",
        "temperature": None,
    }
    assert ask(serve(), options=defaults)["done"]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"num_ctx": -5}}, "options.num_ctx"),
        ({"options": {"num_predict": -3}}, "options.num_predict"),
        ({"options": {"top_p": 7}}, "options.top_p"),
        ({"options": {"stop": [1]}}, "options.stop.0"),
        ({"options": [1]}, "options"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"keep_alive": True}, "keep_alive"),
        ({"think": "hard"}, "think"),
        ({"format": "yaml"}, "format"),
        ({"format": {"type": "nothing"}}, "format"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": "Hi"}, "messages"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"top_logprobs": 1000}, "top_logprobs"),
        ({"tools": [{"type": "web"}]}, "tools.0"),
        ({"shift": True}, "shift"),
    ],
)
def test_a_wrong_field_is_named(serve: Serve, fields: Any, name: str) -> None:
    assert f"'{name}" in refusal(serve(), **fields)


@pytest.mark.parametrize("images", [["iVBORw0KGgo="], "x", [5]])
def test_images_are_refused(serve: Serve, images: Any) -> None:
    error = refusal(serve(), messages=[{"role": "user", "content": "What?", "images": images}])
    assert error.startswith("'messages.0.images' must be left out: the model reads text only")


def test_no_images_are_no_images(serve: Serve) -> None:
    assert ask(serve(), messages=[{"role": "user", "content": "Hi", "images": []}])["done"]


@pytest.mark.parametrize("format_", ["json", WEATHER])
def test_a_format_constrains_the_answer(serve: Serve, format_: Any) -> None:
    live = serve(('{"city":', ' "Oslo"}'))
    ask(live, format=format_)
    assert live.generator.opened[-1].spec.constraint is not None
    ask(live, format="")
    assert live.generator.opened[-1].spec.constraint is None


def test_the_oldest_messages_are_left_out(serve: Serve) -> None:
    live = serve()
    old = [
        {"role": role, "content": "x" * 100} for _ in range(10) for role in ("user", "assistant")
    ]
    messages = [{"role": "system", "content": "Be kind"}, *old, *HI]
    ask(live, messages=messages, options={"num_ctx": 400})
    assert live.prompt().startswith("<|system|>Be kind<|user|>x")
    assert live.prompt().endswith("<|user|>Hi<|assistant|>")
    assert len(live.generator.opened[-1].spec.prompt) < 400
    error = refusal(live, messages=messages, options={"num_ctx": 400}, truncate=False)
    assert "exceeds the available context size (400 tokens)" in error
    too_long = [*old, {"role": "user", "content": "y" * 400}]
    assert "400 tokens" in refusal(live, messages=too_long, options={"num_ctx": 400})


def test_no_messages_load_the_model(serve: Serve) -> None:
    live = serve()
    for keep_alive in (None, "10m", -1, 300.5):
        answer = ask(live, messages=[], keep_alive=keep_alive)
        assert (answer["done"], answer["done_reason"]) == (True, "load")
        assert answer["message"] == {"role": "assistant", "content": ""}
    assert live.generator.opened == []


def test_one_model_stays_loaded(serve: Serve) -> None:
    error = refusal(serve(), 501, model="fake-model", messages=[], keep_alive=0)
    assert "one model, which stays" in error


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (
            Overloaded("full", retry_after=3, reason="queue_full"),
            503,
            "server busy, please try again.  maximum pending requests exceeded",
        ),
        (Overloaded("your limit", retry_after=3), 429, "your limit"),
        (Unavailable("Loading model"), 503, "Loading model"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_refusals(serve: Serve, error: Exception, status: int, text: str, stream: bool) -> None:
    live = serve(fail_on_open=error)
    assert refusal(live, status, stream=stream) == text


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings"])
def test_a_full_queue_is_told_before_the_body_is_read(path: str) -> None:
    @contextmanager
    def full(tenant: str) -> Iterator[None]:
        raise Overloaded("full", retry_after=3, reason="queue_full")
        yield

    context = dataclasses.replace(make_server().context, enter_queue=full)
    answer = TestClient(create_app(context)).post(path, content=b"no JSON")
    assert answer.status_code == 503
    assert "maximum pending requests exceeded" in answer.json()["error"]
    assert answer.headers["Retry-After"] == "3"


def test_an_error_in_a_stream_is_a_line(serve: Serve) -> None:
    live = serve(fail_after=(1, EngineFailed("it broke")))
    answer = live.post("/api/chat", model="m", messages=HI)
    first, last = lines(answer)
    assert first["message"]["content"] == "Hello"
    assert last == {"error": "it broke"}
    assert refusal(live, 500) == "it broke"


def test_a_strict_server_knows_its_names(serve: Serve) -> None:
    live = serve(settings=ServeSettings(strict_model=True, alias=("fake-model", "mario")))
    assert refusal(live, 404, model="luigi") == "model 'luigi' not found"
    for name in ("fake-model", "fake-model:latest", "mario", "mario:latest"):
        assert ask(live, model=name)["model"] == name


@pytest.mark.parametrize(
    ("headers", "other"),
    [
        ({"X-OpenWebUI-User-Id": "ann"}, {"X-OpenWebUI-User-Id": "bob"}),
        ({"X-OpenWebUI-Chat-Id": "1"}, {"X-OpenWebUI-Chat-Id": "2"}),
        (
            {"X-OpenWebUI-User-Id": "ann", "X-OpenWebUI-Chat-Id": "1"},
            {"X-OpenWebUI-User-Id": "bob", "X-OpenWebUI-Chat-Id": "1"},
        ),
    ],
)
def test_open_webui_says_whom_a_chat_is_for(serve: Serve, headers: Any, other: Any) -> None:
    live = serve()

    def user(headers: dict[str, str]) -> str:
        body = {"model": "m", "messages": HI, "stream": False}
        httpx.post(f"{live.url}/api/chat", json=body, headers=headers).raise_for_status()
        return live.generator.opened[-1].spec.user

    assert user(headers) not in ("", user(other))
    assert user({}) == ""


def test_the_official_client(serve: Serve) -> None:
    live = serve(CALL)

    def get_weather(city: str) -> str:
        """Tell the weather.

        Args:
            city: The city.
        """
        return "rain"

    with ollama.Client(host=live.url) as client:
        options = {"seed": 1}
        answer = client.chat("mario", HI, tools=[get_weather], options=options, keep_alive="5m")
        assert answer.message.content == "See:"
        [call] = answer.message.tool_calls or []
        assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Rome"})
        result = {"role": "tool", "content": "rain", "tool_name": "get_weather"}
        client.chat("mario", [*HI, answer.message, result])
    assert live.prompt().endswith('See:get_weather{"city": "Rome"}<|tool|>rain<|assistant|>')


def test_the_official_client_streams(serve: Serve) -> None:
    live = serve(THOUGHT)
    with ollama.Client(host=live.url) as client:
        parts = list(
            client.chat("mario", HI, stream=True, think=True, logprobs=True, top_logprobs=1)
        )
        assert "".join(part.message.thinking or "" for part in parts) == "hm"
        assert "".join(part.message.content or "" for part in parts) == "So"
        assert parts[-1].done_reason == "stop"
        assert parts[-1].prompt_eval_count
        with pytest.raises(ollama.ResponseError, match="must be") as caught:
            client.chat("mario", HI, options={"top_p": 9})
        assert caught.value.status_code == 400
