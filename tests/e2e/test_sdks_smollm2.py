"""The official SDKs with SmolLM2, a real and weak model: what is enforced holds all the same.

Skipped unless LLAMAPACK_SMOLLM2 names its GGUF.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import agents
import anthropic
import openai
import pytest
from openai.types.chat import (
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageParam,
    ChatCompletionToolChoiceOptionParam,
)
from pydantic import BaseModel, Field

from tests.support.processes import serving

PATH = Path(os.environ.get("LLAMAPACK_SMOLLM2", "missing"))

pytestmark = pytest.mark.skipif(not PATH.exists(), reason="LLAMAPACK_SMOLLM2 names no file")

MODEL = "smollm2"
QUESTION = "What is 2+2?"
ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION}]
FEW = 60
"""Tokens of a plain answer; it ends before."""
SENTENCE = "Ana is 31 years old and lives in Oslo. She is glad."


class Person(BaseModel):
    """Whom a text is about."""

    name: str = Field(max_length=8)
    age: int = Field(ge=0, le=120)
    mood: Literal["glad", "sad"]


class Mood(BaseModel):
    """Without bounds: Anthropic's client does not send them."""

    mood: Literal["glad", "sad"]
    is_adult: bool


PARAMETERS: dict[str, object] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Oslo", "Lima"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather in a city.",
        "parameters": PARAMETERS,
    },
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving("-m", str(PATH), "-c", "8192", "-np", "2", "-a", MODEL) as server:
        yield server.url


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def assert_is_a_call(name: str, arguments: str) -> None:
    """What the tool's schema allows and nothing else."""
    assert name == "get_weather"
    assert json.loads(arguments) in ({"city": "Oslo"}, {"city": "Lima"})


def test_a_chat_and_its_stream_say_the_same(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model=MODEL, messages=ASKED, temperature=0, max_tokens=FEW
    )
    text = whole.choices[0].message.content
    assert text is not None
    assert "4" in text
    with client.chat.completions.stream(
        model=MODEL,
        messages=ASKED,
        temperature=0,
        max_tokens=FEW,
        stream_options={"include_usage": True},
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert len(deltas) > 2
    assert "".join(deltas) == final.choices[0].message.content == text
    assert final.usage is not None
    assert whole.usage is not None
    assert final.usage.completion_tokens == whole.usage.completion_tokens


def test_a_chats_object_fits_its_model(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": SENTENCE}],
        response_format=Person,
        temperature=0,
    )
    assert isinstance(answer.choices[0].message.parsed, Person)


@pytest.mark.parametrize(
    "choice",
    ["required", {"type": "function", "function": {"name": "get_weather"}}],
    ids=["any", "one"],
)
def test_a_chats_call_is_forced(
    client: openai.OpenAI, choice: ChatCompletionToolChoiceOptionParam
) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=ASKED,
        tools=[TOOL],
        tool_choice=choice,
        parallel_tool_calls=False,
        temperature=0,
    )
    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert_is_a_call(call.function.name, call.function.arguments)
    assert answer.choices[0].finish_reason == "tool_calls"


def test_a_response_and_its_stream_say_the_same(client: openai.OpenAI) -> None:
    whole = client.responses.create(
        model=MODEL, input=QUESTION, temperature=0, max_output_tokens=FEW
    )
    assert "4" in whole.output_text
    with client.responses.stream(
        model=MODEL, input=QUESTION, temperature=0, max_output_tokens=FEW
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert len(deltas) > 2
    assert "".join(deltas) == final.output_text == whole.output_text


def test_a_responses_object_fits_its_model(client: openai.OpenAI) -> None:
    answer = client.responses.parse(model=MODEL, input=SENTENCE, text_format=Person, temperature=0)
    assert isinstance(answer.output_parsed, Person)


def test_a_responses_call_is_forced(client: openai.OpenAI) -> None:
    answer = client.responses.create(
        model=MODEL,
        input=QUESTION,
        tools=[
            {"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": True}
        ],
        tool_choice={"type": "function", "name": "get_weather"},
        parallel_tool_calls=False,
        temperature=0,
    )
    [call] = [item for item in answer.output if item.type == "function_call"]
    assert_is_a_call(call.name, call.arguments)


def test_a_message_and_its_stream_say_the_same(claude: anthropic.Anthropic) -> None:
    asked: list[anthropic.types.MessageParam] = [{"role": "user", "content": QUESTION}]
    body = {"temperature": 0}  # the client's newest versions have no argument for it
    whole = claude.messages.create(model=MODEL, max_tokens=FEW, messages=asked, extra_body=body)
    [block] = whole.content
    assert block.type == "text"
    assert "4" in block.text
    with claude.messages.stream(
        model=MODEL, max_tokens=FEW, messages=asked, extra_body=body
    ) as stream:
        deltas = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(deltas) > 2
    assert "".join(deltas) == block.text
    assert [one.text for one in final.content if one.type == "text"] == [block.text]
    assert final.stop_reason == whole.stop_reason


def test_a_messages_object_fits_its_model(claude: anthropic.Anthropic) -> None:
    message = claude.messages.parse(
        model=MODEL,
        max_tokens=200,
        messages=[{"role": "user", "content": SENTENCE}],
        output_format=Mood,
    )
    assert isinstance(message.parsed_output, Mood)


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_a_messages_call_is_forced(
    claude: anthropic.Anthropic, choice: anthropic.types.ToolChoiceParam
) -> None:
    message = claude.messages.create(
        model=MODEL,
        max_tokens=200,
        messages=[{"role": "user", "content": QUESTION}],
        tools=[{"name": "get_weather", "description": "The weather", "input_schema": PARAMETERS}],
        tool_choice=choice,
    )
    [call] = [block for block in message.content if block.type == "tool_use"]
    assert_is_a_call(call.name, json.dumps(call.input))
    assert message.stop_reason == "tool_use"


@pytest.fixture
async def model(url: str) -> AsyncIterator[agents.OpenAIResponsesModel]:
    agents.set_tracing_disabled(True)
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield agents.OpenAIResponsesModel(MODEL, client)


@pytest.mark.anyio
async def test_an_agent_calls_a_tool_that_it_must_call(model: agents.OpenAIResponsesModel) -> None:
    asked: list[str] = []

    @agents.function_tool
    def get_weather(city: Literal["Oslo", "Lima"]) -> str:
        """Tell the weather in a city."""
        asked.append(city)
        return "12 degrees and rain"

    agent = agents.Agent(
        name="weather",
        tools=[get_weather],
        model=model,
        model_settings=agents.ModelSettings(temperature=0, tool_choice="get_weather"),
        tool_use_behavior="stop_on_first_tool",
    )
    result = await agents.Runner.run(agent, "What is the weather in Oslo?")
    assert asked[0] in ("Oslo", "Lima")
    assert result.final_output == "12 degrees and rain"


@pytest.mark.anyio
async def test_an_agents_stream_ends_with_an_object(model: agents.OpenAIResponsesModel) -> None:
    agent = agents.Agent(
        name="reader",
        model=model,
        output_type=Person,
        model_settings=agents.ModelSettings(temperature=0),
    )
    result = agents.Runner.run_streamed(agent, SENTENCE)
    events = [event async for event in result.stream_events()]
    assert len(events) > 2
    assert isinstance(result.final_output, Person)
