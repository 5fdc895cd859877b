"""Ollama's clients against the demo model: its own, LangChain's, and what others send."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from pydantic import BaseModel

from server.store.resolve import DEMO_MODEL
from tests.support.processes import DEADLINE, serving

NAME = "demo-target"
ANSWER = "The capital of France is Paris."
QUESTION = "What is the capital of France?"
ASKED: Any = [{"role": "user", "content": QUESTION}]
GREEDY = {"temperature": 0}
N_EMBD = 256


class Person(BaseModel):
    name: str
    age: int


def get_weather(city: str) -> str:
    """Tell the weather in a city.

    Args:
        city: The city.
    """
    return f"12 degrees and rain in {city}"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving("-c", "8192", "-np", "2", "--embeddings", "--pooling", "mean") as server:
        yield server.url


UNKEPT = {"timeout": DEADLINE, "limits": httpx.Limits(max_keepalive_connections=0)}
"""LangChain's objects can't be closed, so they must keep no connections."""


@pytest.fixture
def client(url: str) -> Iterator[ollama.Client]:
    with ollama.Client(host=url, timeout=DEADLINE) as client:
        yield client


# --- Ollama's own client -------------------------------------------------------------------


def test_a_chat_whole_and_streamed(client: ollama.Client) -> None:
    whole = client.chat(NAME, ASKED, options=GREEDY)
    assert whole.message.content == ANSWER
    parts = list(client.chat(NAME, ASKED, options=GREEDY, stream=True))
    assert len(parts) > 3
    assert "".join(part.message.content or "" for part in parts) == ANSWER
    last = parts[-1]
    assert (last.done, last.done_reason) == (True, "stop")
    assert (last.eval_count, last.prompt_eval_count) == (whole.eval_count, whole.prompt_eval_count)
    assert 0 < (last.eval_duration or 0) < (last.total_duration or 0)


def test_thinking_can_be_turned_off(client: ollama.Client) -> None:
    assert client.chat(NAME, ASKED, options=GREEDY, think=True).message.thinking
    assert not client.chat(NAME, ASKED, options=GREEDY, think=False).message.thinking


def test_a_tool_is_called_and_its_result_read(client: ollama.Client) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Oslo?"}]
    answer = client.chat(NAME, messages, tools=[get_weather], options=GREEDY)
    [call] = answer.message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Oslo"})
    result = get_weather(**call.function.arguments)
    messages += [answer.message, {"role": "tool", "content": result, "tool_name": "get_weather"}]
    assert "12" in (client.chat(NAME, messages, options=GREEDY).message.content or "")


def test_an_answer_in_a_format(client: ollama.Client) -> None:
    asked = [{"role": "user", "content": "Ana is 31 years old and lives in Oslo."}]
    schema = Person.model_json_schema()
    answer = client.chat(NAME, asked, format=schema, options=GREEDY)
    assert Person.model_validate_json(answer.message.content or "") == Person(name="Ana", age=31)


def test_a_prompt_and_its_conversation(client: ollama.Client) -> None:
    first = client.generate(NAME, QUESTION, options=GREEDY)
    assert first.response == ANSWER
    again = client.generate(NAME, "What is the capital of Italy?", context=first.context)
    assert (again.prompt_eval_count or 0) > (first.prompt_eval_count or 0)
    assert len(again.context or ()) > len(first.context or ())
    raw = client.generate(NAME, "One two three", raw=True, options={"num_predict": 4})
    assert raw.eval_count == 4


def test_vectors(client: ollama.Client) -> None:
    one, other, same = client.embed(NAME, ["Paris is in France.", "A cat.", "A cat."]).embeddings
    assert len(one) == N_EMBD
    assert one != other
    assert other == pytest.approx(same, abs=1e-3)
    assert len(client.embeddings(NAME, "A cat.").embedding) == N_EMBD


def test_models_are_listed_shown_and_made(client: ollama.Client) -> None:
    [model] = client.list().models
    assert model.model == f"{NAME}:latest"
    assert (model.size or 0) > 1_000_000
    assert model.details is not None
    assert model.details.family
    [running] = client.ps().models
    assert (running.name, running.context_length) == (f"{NAME}:latest", 4096)
    shown = client.show(NAME)
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == model.details.family
    assert {"completion", "tools", "thinking"} <= set(shown.capabilities or ())
    client.create("short", from_=NAME, parameters={"num_predict": 2, "temperature": 0})
    assert client.chat("short", ASKED, think=False).eval_count == 2
    assert "short:latest" in [one.model for one in client.list().models]
    client.delete("short")
    assert "short:latest" not in [one.model for one in client.list().models]


def test_pulling_what_is_pushed_fails_with_words(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="not pushed"):
        client.push(NAME)


# --- LangChain's ---------------------------------------------------------------------------


def test_langchain(url: str) -> None:
    model = ChatOllama(
        model=NAME,
        base_url=url,
        temperature=0,
        num_ctx=2048,
        validate_model_on_init=True,
        client_kwargs=UNKEPT,
    )
    answer = model.invoke(QUESTION)
    assert answer.content == ANSWER
    assert isinstance(answer, AIMessage)
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 3
    chunks = list(model.stream(QUESTION))
    assert "".join(str(chunk.content) for chunk in chunks) == ANSWER
    people = model.with_structured_output(Person, method="json_schema")
    assert people.invoke("Ana is 31 years old and lives in Oslo.") == Person(name="Ana", age=31)


def test_langchains_tools(url: str) -> None:
    weather = tool(get_weather)
    model = ChatOllama(model=NAME, base_url=url, temperature=0, client_kwargs=UNKEPT)
    armed = model.bind_tools([weather])
    asked = HumanMessage("What is the weather in Oslo?")
    calling = armed.invoke([asked])
    assert isinstance(calling, AIMessage)
    [call] = calling.tool_calls
    assert call["args"] == {"city": "Oslo"}
    result = ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])
    assert "12" in str(armed.invoke([asked, calling, result]).content)


def test_langchains_completions_and_vectors(url: str) -> None:
    completer = OllamaLLM(model=NAME, base_url=url, temperature=0, client_kwargs=UNKEPT)
    assert completer.invoke(QUESTION) == ANSWER
    embeddings = OllamaEmbeddings(model=NAME, base_url=url, client_kwargs=UNKEPT)
    assert len(embeddings.embed_query("Paris is in France.")) == N_EMBD
    assert len(embeddings.embed_documents(["one", "two"])) == 2


# --- what others send ----------------------------------------------------------------------


def test_what_open_webui_sends(url: str) -> None:
    """From the check of the connection to the unloading of a model, as its router does it."""
    user = {
        "X-OpenWebUI-User-Name": "Ann",
        "X-OpenWebUI-User-Id": "3f5a",
        "X-OpenWebUI-User-Email": "ann@example.org",
        "X-OpenWebUI-User-Role": "user",
    }
    kept = {"Content-Type": "application/json", **user}
    with httpx.Client(base_url=url, headers=kept, timeout=DEADLINE) as http:
        assert http.get("/api/version").json()["version"]
        [model] = http.get("/api/tags").json()["models"]
        [loaded] = http.get("/api/ps").json()["models"]
        assert loaded["name"] == model["name"]
        assert int(datetime.datetime.fromisoformat(loaded["expires_at"]).timestamp()) > 0
        shown = http.post("/api/show", content=json.dumps({"model": model["model"]}))
        assert shown.json()["model_info"]
        chat = {
            "model": model["model"],
            "messages": ASKED,
            "options": {"temperature": 0, "num_ctx": 2048, "stop": ["<stop>"], "num_keep": 24},
            "stream": True,
        }
        headers = {"X-OpenWebUI-Chat-Id": "c1"}
        answer = http.post("/api/chat", content=json.dumps(chat), headers=headers)
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert "".join(line["message"]["content"] for line in lines) == ANSWER
        assert lines[-1]["eval_count"] > 3
        body = {"model": model["model"], "input": ["one", "two"], "truncate": True}
        embedded = http.post("/api/embed", content=json.dumps(body)).json()
        assert [len(vector) for vector in embedded["embeddings"]] == [N_EMBD] * 2
        unload = http.post(
            "/api/generate",
            content=json.dumps({"model": model["model"], "keep_alive": 0, "prompt": ""}),
        )
        assert "stays" in unload.json()["error"]


def test_what_continue_sends(url: str) -> None:
    """It reads the parameters of `/api/show`, then chats with what it has read."""
    with httpx.Client(base_url=url, timeout=DEADLINE) as http:
        shown = http.post("/api/show", json={"name": NAME}).json()
        read = {}
        for line in shown["parameters"].splitlines():
            found = re.fullmatch(r'(\S+)\s+((?:".*")|\S+)', line)
            assert found is not None
            read[found[1]] = found[2]
        assert int(read["num_ctx"]) == 4096
        assert ".Suffix" not in shown["template"]  # the demo model fills no gaps
        chat = {
            "model": NAME,
            "messages": [{**ASKED[0], "images": None}],
            "options": {"temperature": 0, "num_predict": 200, "num_ctx": int(read["num_ctx"])},
            "keep_alive": 1800,
        }
        lines = [json.loads(x) for x in http.post("/api/chat", json=chat).text.splitlines()]
        assert "".join(line["message"]["content"] for line in lines) == ANSWER
        parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
        function = {"name": "get_weather", "description": "Tell it.", "parameters": parameters}
        asked = [{"role": "user", "content": "What is the weather in Oslo?"}]
        armed = {
            **chat,
            "messages": asked,
            "stream": False,
            "tools": [{"type": "function", "function": function}],
        }
        message = http.post("/api/chat", json=armed).json()["message"]
        assert message["tool_calls"][0]["function"]["arguments"] == {"city": "Oslo"}
        completion = {**chat, "prompt": "One two", "raw": True, "stream": True}
        del completion["messages"]
        text = http.post("/api/generate", json=completion).text
        assert json.loads(text.splitlines()[-1])["done"]


# --- several models ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("models")
    for name in ("one", "two"):
        (folder / f"{name}.gguf").symlink_to(DEMO_MODEL)
    flags = ("--models-dir", str(folder), "-c", "2048", "-np", "1")
    with serving(*flags, has_one_model=False) as server:
        yield server.url


def test_the_name_chooses_and_unloads(pool_url: str) -> None:
    with ollama.Client(host=pool_url, timeout=DEADLINE) as client:

        def loaded() -> list[str | None]:
            return [model.name for model in client.ps().models]

        assert sorted(model.model or "" for model in client.list().models) == [
            "one:latest",
            "two:latest",
        ]
        shown = client.show("two")
        assert shown.details is not None
        assert shown.details.parameter_size == "5.25M"
        assert loaded() == []
        answer = client.chat("two", ASKED, options=GREEDY, keep_alive="5m")
        assert (answer.message.content, loaded()) == (ANSWER, ["two:latest"])
        assert (answer.load_duration or 0) > 0
        assert client.generate("one").done_reason == "load"
        assert sorted(name or "" for name in loaded()) == ["one:latest", "two:latest"]
        assert client.generate("two", keep_alive=0).done_reason == "unload"
        assert loaded() == ["one:latest"]
        with pytest.raises(ollama.ResponseError, match="model 'three' not found"):
            client.chat("three", ASKED)
