"""Typed objects and tool calls from the served demo model, through common client libraries."""

from __future__ import annotations

import datetime
import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

import agents
import anthropic
import httpx
import instructor
import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field, SecretStr
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from tests.support.processes import DEADLINE, serving

MODEL = "demo-target"
SENTENCE = "Ana is 31 years old and lives in Oslo."


class Address(BaseModel):
    city: str = Field(max_length=20)
    zip_code: str = Field(pattern=r"^[0-9]{5}$")


class Person(BaseModel):
    """A person whom a text is about."""

    name: str = Field(min_length=1, max_length=20)
    age: int = Field(ge=0, le=120)
    mood: Literal["glad", "sad"]
    seen: datetime.date
    address: Address
    friends: list[Annotated[str, Field(max_length=10)]] = Field(max_length=2)


class Named(BaseModel):
    """Without bounds: Anthropic's client does not send them."""

    age: int
    mood: Literal["glad", "sad"]


def assert_is_ana(person: object) -> None:
    """What the sentence says is in the object. The rest is in the bounds, and else made up."""
    assert isinstance(person, Person)
    assert (person.name, person.age) == ("Ana", 31)
    assert person.address.city.startswith("Oslo")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving("-c", "8192", "-np", "2") as server:
        yield f"{server.url}/v1"


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def test_openais_own_helper(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": SENTENCE}],
        response_format=Person,
        temperature=0,
    )
    assert_is_ana(answer.choices[0].message.parsed)


@pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA])
def test_instructor(client: openai.OpenAI, mode: instructor.Mode) -> None:
    patched = instructor.from_openai(client, mode=mode)
    person = patched.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": SENTENCE}],
        response_model=Person,
        temperature=0,
        max_retries=0,
    )
    assert_is_ana(person)


def test_instructor_streams_an_object(client: openai.OpenAI) -> None:
    patched = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
    partial = patched.chat.completions.create_partial(
        model=MODEL,
        messages=[{"role": "user", "content": SENTENCE}],
        response_model=Address,
        temperature=0,
    )
    growing = list(partial)
    assert len(growing) > 2
    assert Address.model_validate(growing[-1].model_dump()).city == "Oslo"


@pytest.fixture
async def model(url: str) -> AsyncIterator[OpenAIChatModel]:
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=client))


@pytest.mark.parametrize("output", [ToolOutput, NativeOutput])
@pytest.mark.anyio
async def test_pydantic_ai(model: OpenAIChatModel, output: type) -> None:
    settings: ModelSettings = {"temperature": 0.0}
    agent: Agent[None, Person] = Agent(
        model, output_type=output(Person), retries=0, model_settings=settings
    )
    result = await agent.run(SENTENCE)
    assert_is_ana(result.output)


@pytest.mark.anyio
async def test_pydantic_ai_calls_a_tool(model: OpenAIChatModel) -> None:
    agent = Agent(model, model_settings={"temperature": 0.0})
    asked: list[str] = []

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        asked.append(city)
        return "12 degrees and rain"

    result = await agent.run("What is the weather in Oslo?")
    assert asked == ["Oslo"]
    assert "12" in result.output


@pytest.fixture
def chat(url: str) -> Iterator[ChatOpenAI]:
    with httpx.Client() as http:
        yield ChatOpenAI(
            model=MODEL,
            base_url=url,
            api_key=SecretStr("none"),
            temperature=0,
            max_retries=0,
            http_client=http,
        )


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain(chat: ChatOpenAI, method: Literal["json_schema", "function_calling"]) -> None:
    person = chat.with_structured_output(Person, method=method).invoke(SENTENCE)
    assert_is_ana(person)


@tool
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"12 degrees and rain in {city}"


def test_langchain_calls_a_tool(chat: ChatOpenAI) -> None:
    model = chat.bind_tools([get_weather])
    question = HumanMessage("What is the weather in Oslo?")
    answer = model.invoke([question])
    assert isinstance(answer, AIMessage)
    assert [call["args"] for call in answer.tool_calls] == [{"city": "Oslo"}]
    results = [get_weather.invoke(call) for call in answer.tool_calls]
    assert all(isinstance(result, ToolMessage) for result in results)
    assert "12" in str(model.invoke([question, answer, *results]).content)


def test_langchain_streams_a_call(chat: ChatOpenAI) -> None:
    model = chat.bind_tools([get_weather], tool_choice="get_weather")
    chunks = list(model.stream("What is the weather in Oslo?"))
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    pieces = [piece for chunk in chunks for piece in chunk.tool_call_chunks]  # type: ignore[attr-defined]
    assert len(pieces) > 2
    assert [piece["name"] for piece in pieces if piece["name"]] == ["get_weather"]
    assert json.loads("".join(piece["args"] or "" for piece in pieces)) == {"city": "Oslo"}


@pytest.fixture
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    base = url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=base, api_key="none", max_retries=0) as client:
        yield client


CAPITAL: list[anthropic.types.MessageParam] = [
    {"role": "user", "content": "What is the capital of France?"}
]


def test_anthropics_stream_and_its_thinking(claude: anthropic.Anthropic) -> None:
    with claude.messages.stream(
        model=MODEL,
        max_tokens=400,
        messages=CAPITAL,
        thinking={"type": "enabled", "budget_tokens": 1024},
    ) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[1].text == "The capital of France is Paris."  # type: ignore[union-attr]
    assert message.stop_reason == "end_turn"


def test_anthropics_typed_answer(claude: anthropic.Anthropic) -> None:
    message = claude.messages.parse(
        model=MODEL,
        max_tokens=400,
        messages=[{"role": "user", "content": SENTENCE}],
        output_format=Named,
    )
    assert message.parsed_output is not None
    assert message.parsed_output.mood in ("glad", "sad")


def test_anthropics_tool_runner(claude: anthropic.Anthropic) -> None:
    asked: list[str] = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """Tell the weather in a city.

        Args:
            city: The city.
        """
        asked.append(city)
        return "12 degrees and rain"

    runner = claude.beta.messages.tool_runner(
        model=MODEL,
        max_tokens=400,
        tools=[get_weather],
        messages=[{"role": "user", "content": "What is the weather in Oslo?"}],
    )
    last = runner.until_done()
    assert asked == ["Oslo"]
    assert "12" in last.content[0].text  # type: ignore[union-attr]


def test_anthropics_count_is_that_of_the_answer(claude: anthropic.Anthropic) -> None:
    counted = claude.messages.count_tokens(model=MODEL, messages=CAPITAL, system="Be brief.")
    usage = claude.messages.create(
        model=MODEL, max_tokens=1, messages=CAPITAL, system="Be brief."
    ).usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_anthropics_client_knows_the_error_of_a_long_prompt(claude: anthropic.Anthropic) -> None:
    with pytest.raises(
        anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > \d+ max"
    ):
        claude.messages.create(model=MODEL, max_tokens=1, messages=CAPITAL * 1000)


def test_anthropics_list_of_models(claude: anthropic.Anthropic) -> None:
    [model] = claude.models.list()
    assert (model.id, model.type, model.display_name) == (MODEL, "model", MODEL)
    assert claude.models.retrieve(MODEL).max_input_tokens == 4096


def test_openais_responses_go_on(client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input=str(CAPITAL[0]["content"])) as stream:
        for _ in stream:
            pass
        first = stream.get_final_response()
    assert first.output_text == "The capital of France is Paris."
    again = client.responses.create(
        model=MODEL, input="Thank you.", previous_response_id=first.id, max_output_tokens=20
    )
    assert again.usage is not None
    assert again.usage.input_tokens_details.cached_tokens > 20
    assert client.responses.retrieve(first.id).output_text == first.output_text


def test_openais_typed_response(client: openai.OpenAI) -> None:
    answer = client.responses.parse(model=MODEL, input=SENTENCE, text_format=Person, temperature=0)
    assert_is_ana(answer.output_parsed)


@pytest.mark.anyio
async def test_openais_agent_calls_a_tool(url: str) -> None:
    asked: list[str] = []

    @agents.function_tool
    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        asked.append(city)
        return "12 degrees and rain"

    agents.set_tracing_disabled(True)
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        agent = agents.Agent(
            name="weather",
            tools=[get_weather],
            model=agents.OpenAIResponsesModel(MODEL, client),
            model_settings=agents.ModelSettings(temperature=0),
        )
        result = await agents.Runner.run(agent, "What is the weather in Oslo?")
    assert asked == ["Oslo"]
    assert "12" in result.final_output


def test_thinking_is_ended_while_it_streams(client: openai.OpenAI, url: str) -> None:
    [closing] = httpx.post(
        f"{url.removesuffix('/v1')}/tokenize",
        json={"content": "</think>", "parse_special": True},
        timeout=DEADLINE,
    ).json()["tokens"]
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is 47 + 38?"}],
        stream=True,
        temperature=0,
        logit_bias={str(closing): -100},  # so that the model does not end its thinking itself,
        extra_body={
            "ignore_eos": True,  # nor its answer
            "reasoning_control": True,
            "chat_template_kwargs": {"enable_thinking": True},
        },
    )
    thought, said = "", ""
    replies: list[Any] = []
    for chunk in stream:
        delta: Any = chunk.choices[0].delta
        thought += getattr(delta, "reasoning_content", None) or ""
        said += delta.content or ""
        if thought and not replies:
            control = {"id": chunk.id, "action": "reasoning_end"}
            replies.append(
                httpx.post(f"{url}/chat/completions/control", json=control, timeout=DEADLINE).json()
            )
        if said.strip():
            break
    stream.close()
    assert replies == [{"success": True}]
    # What a thought that is cut leads to depends on when it is cut.
    assert said.strip()
    again = httpx.post(f"{url}/chat/completions/control", json=control, timeout=DEADLINE).json()
    assert again["success"] is False
