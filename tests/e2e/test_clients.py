"""Frameworks do what docs/clients.md shows, with its code, against the demo model.

What pip or npm must install for it is skipped without LLAMAPACK_CLIENTS and LLAMAPACK_AGENTS.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.desk import CLIENTS, NPM, Desk
from tests.support.pages import blocks, example
from tests.support.paths import ROOT
from tests.support.processes import serving

PAGE = ROOT / "docs" / "clients.md"
PROGRAMS = Path(__file__).parent / "clients"
ANSWER = "The capital of France is Paris."
MODEL = "demo-target"
N_EMBD = 256


def needs_pip(package: str) -> pytest.MarkDecorator:
    found = list(CLIENTS.parent.glob(f"lib/python*/site-packages/{package}"))
    return pytest.mark.skipif(not found, reason=f"LLAMAPACK_CLIENTS has no {package}")


def needs_npm(package: str) -> pytest.MarkDecorator:
    missing = shutil.which("node") is None or not (NPM / package).exists()
    return pytest.mark.skipif(missing, reason=f"LLAMAPACK_AGENTS has no {package}")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving("-c", "16384", "-np", "2", "--embeddings", "--pooling", "mean") as server:
        yield server.url


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.variables["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    # Where JavaScript looks for packages.
    (desk.work / "node_modules").symlink_to(NPM)
    return desk


def results(desk: Desk, *command: str | Path) -> list[dict[str, Any]]:
    """The lines of JSON that a program prints."""
    lines = desk.run(*command).stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.parametrize("title", ["OpenAI's SDK", "Anthropic's SDK", "Ollama's clients"])
def test_python_of_the_page(title: str, desk: Desk, url: str) -> None:
    code = example(PAGE, title, "python", url)
    assert desk.run(sys.executable, "-c", code).stdout.strip() == ANSWER


MORE_OF_LANGCHAIN = """
from langchain_core.tools import tool
from pydantic import BaseModel


@tool
def get_weather(city: str) -> str:
    "Tell the weather in a city."
    return "rain"


class Person(BaseModel):
    name: str
    age: int


for more in ({}, {"use_responses_api": True}):
    model = ChatOpenAI(temperature=0, stream_usage=True, **more, **server)
    chunks = list(model.stream("What is the capital of France?"))
    print("".join(chunk.text for chunk in chunks))
    print(any((chunk.usage_metadata or {}).get("total_tokens", 0) > 20 for chunk in chunks))
    armed = model.bind_tools([get_weather], tool_choice="any", parallel_tool_calls=False)
    print([call["args"] for call in armed.invoke("What is the weather in Oslo?").tool_calls])
    print(model.with_structured_output(Person).invoke("Ana is 31 years old and lives in Oslo."))
"""


def test_langchain(desk: Desk, url: str) -> None:
    code = example(PAGE, "LangChain", "python", url) + MORE_OF_LANGCHAIN
    printed = desk.run(sys.executable, "-c", code).stdout.splitlines()
    both = [ANSWER, "True", "[{'city': 'Oslo'}]", "name='Ana' age=31"]
    assert printed == [ANSWER, str(N_EMBD), *both, *both]


MORE_OF_LITELLM = """
ask = {"api_base": URL + "/v1", "api_key": "none", "temperature": 0}
question = [{"role": "user", "content": "What is the capital of France?"}]
options = {"include_usage": True}
chunks = list(
    litellm.completion("openai/any", question, stream=True, stream_options=options, **ask)
)
print("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))
tool = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type":
    "string"}}, "required": ["city"]}, "description": "Tell the weather in a city."}
weather = [{"role": "user", "content": "What is the weather in Oslo?"}]
tools = [{"type": "function", "function": tool}]
[call] = litellm.completion("openai/any", weather, tools=tools, **ask).choices[0].message.tool_calls
print(call.function.name, call.function.arguments)
answer = litellm.responses(model="openai/any", input=question[0]["content"], **ask)
print(answer.output[-1].content[0].text)
answer = litellm.completion("anthropic/any", question, **{**ask, "api_base": URL})
print(answer.choices[0].message.content)
try:
    litellm.completion("openai/any", [{"role": "user", "content": "x " * 20000}], **ask)
except litellm.ContextWindowExceededError:
    print("too long")
"""


@needs_pip("litellm")
def test_litellm(desk: Desk, url: str) -> None:
    code = example(PAGE, "LiteLLM", "python", url) + MORE_OF_LITELLM.replace("URL", repr(url))
    printed = [
        line
        for line in desk.run(CLIENTS / "python", "-c", code).stdout.splitlines()
        if line.startswith(("The capital", "get_weather", "too long"))
    ]
    call = 'get_weather {"city": "Oslo"}'
    assert printed == [ANSWER, ANSWER, call, ANSWER, ANSWER, "too long"]


MORE_OF_LLAMA_INDEX = """
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

question = ChatMessage(role="user", content="What is the capital of France?")
print("".join(chunk.delta or "" for chunk in llm.stream_chat([question])))
print(len(embeddings.get_text_embedding_batch(["a text"] * 25)))


def get_weather(city: str) -> str:
    "Tell the weather in a city."
    return f"12 degrees and rain in {city}"


tool = FunctionTool.from_defaults(fn=get_weather)
print(llm.predict_and_call([tool], user_msg="What is the weather in Oslo?"))


class Person(BaseModel):
    name: str
    age: int


text = "Ana is 31 years old and lives in Oslo."
print(llm.structured_predict(Person, PromptTemplate(text)))
"""


@needs_pip("llama_index")
def test_llama_index(desk: Desk, url: str) -> None:
    code = example(PAGE, "LlamaIndex", "python", url) + MORE_OF_LLAMA_INDEX
    printed = desk.run(CLIENTS / "python", "-c", code).stdout.splitlines()
    weather = "12 degrees and rain in Oslo"
    assert printed == [ANSWER, str(N_EMBD), ANSWER, "25", weather, "name='Ana' age=31"]


@needs_npm("@ai-sdk/openai-compatible")
def test_vercels_ai_sdk_as_on_the_page(desk: Desk, url: str) -> None:
    program = desk.work / "page.mjs"
    program.write_text(example(PAGE, "Vercel AI SDK", "js", url))
    assert desk.run("node", program).stdout.strip() == ANSWER


@needs_npm("@ai-sdk/openai-compatible")
def test_vercels_ai_sdk(desk: Desk, url: str) -> None:
    program = shutil.copy(PROGRAMS / "ai_sdk.mjs", desk.work)
    *models, embeddings = results(desk, "node", program, url)
    assert [model.pop("name") for model in models] == ["compatible", "responses", "chat"]
    weather = "It is 12 degrees and rain in Oslo."
    for model in models:
        assert model.pop("usage") > 20
        assert model == {
            "whole": ANSWER,
            "streamed": ANSWER,
            "finish": "stop",
            "called": weather,
            "calls": [{"city": "Oslo"}],
            "steps": weather,
            "forced": [{"city": "Oslo"}],
            "typed": {"name": "Ana", "age": 31},
        }
    assert embeddings["sizes"] == [N_EMBD] * 2


# The fields of the credential "OpenAI" in n8n's sources (OpenAiApi.credentials.ts).
N8N_FIELDS = {"apiKey", "organizationId", "url", "header", "headerName", "headerValue"}


def test_n8ns_credential_has_the_fields_that_n8n_knows(url: str) -> None:
    [credential] = json.loads(example(PAGE, "n8n", "json", url))
    assert set(credential) == {"id", "name", "type", "data"}
    assert credential["type"] == "openAiApi"
    assert set(credential["data"]) <= N8N_FIELDS
    # What n8n's button "Test" sends.
    headers = {"Authorization": f"Bearer {credential['data']['apiKey']}"}
    assert (
        httpx.get(f"{credential['data']['url']}/models", headers=headers, timeout=60).status_code
        == 200
    )


@needs_npm("@langchain/openai")
def test_what_n8n_does_with_its_credential(desk: Desk, url: str) -> None:
    credential = desk.work / "credential.json"
    credential.write_text(example(PAGE, "n8n", "json", url))
    program = shutil.copy(PROGRAMS / "n8n.mjs", desk.work)
    *apis, embeddings = results(desk, "node", program, credential)
    assert [api.pop("responsesApiEnabled") for api in apis] == [True, False]
    for api in apis:
        assert api == {
            "model": MODEL,
            "whole": ANSWER,
            "streamed": ANSWER,
            "calls": [{"city": "Oslo"}],
            "last": "It is 12 degrees and rain in Oslo.",
        }
    assert embeddings["sizes"] == [N_EMBD] * 2


def open_webuis_settings(url: str) -> tuple[str, dict[str, str]]:
    """The address and the headers that Open WebUI makes of its variables on the page."""
    [command] = blocks(PAGE, "Open WebUI", "sh")
    variables = dict(re.findall(r"-e ([A-Z_]+)=(\S+)", command))
    assert variables["ENABLE_OLLAMA_API"] == "false"
    address = variables["OPENAI_API_BASE_URL"]
    assert address.startswith("http://host.docker.internal:8080")
    key = variables["OPENAI_API_KEY"]
    return address.replace("http://host.docker.internal:8080", url), {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
    }


def test_what_open_webui_sends_for_a_chat(url: str) -> None:
    address, headers = open_webuis_settings(url)
    with httpx.Client(headers=headers, timeout=60) as client:
        listed = client.get(f"{address}/models").json()["data"]
        assert [entry["id"] for entry in listed] == [MODEL]
        asked = [{"role": "user", "content": "What is the capital of France?"}]
        body = {"model": MODEL, "messages": asked, "stream": True, "temperature": 0}
        body["stream_options"] = {"include_usage": True}
        answer = client.post(f"{address}/chat/completions", json=body)
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
        assert lines[-1] == "data: [DONE]"
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
        assert "".join(delta.get("content") or "" for delta in deltas) == ANSWER
        assert chunks[-1]["usage"]["total_tokens"] > 20


def test_what_open_webui_sends_for_a_title(url: str) -> None:
    """The task's prompt has the chat in it, and the answer is read whole."""
    address, headers = open_webuis_settings(url)
    asked = [{"role": "user", "content": "### Task:\nGenerate a concise title.\n<chat_history>\n"}]
    body = {"model": MODEL, "messages": asked, "stream": False, "max_completion_tokens": 40}
    answer = httpx.post(f"{address}/chat/completions", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200
    assert isinstance(answer.json()["choices"][0]["message"]["content"], str)


def test_what_open_webui_sends_for_documents(url: str) -> None:
    address, headers = open_webuis_settings(url)
    body = {"input": ["one", "two"], "model": MODEL}
    answer = httpx.post(f"{address}/embeddings", json=body, headers=headers, timeout=60).json()
    assert [len(entry["embedding"]) for entry in answer["data"]] == [N_EMBD] * 2


def test_every_client_of_the_table_has_its_paragraph() -> None:
    text = PAGE.read_text()
    names = re.findall(r"^\| \[([^\]]+)\]\(#[a-z0-9-]+\) \|", text, re.MULTILINE)
    assert len(names) == 13
    assert all(f"\n## {name}\n" in text for name in names)
