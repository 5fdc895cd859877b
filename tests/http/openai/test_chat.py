"""Chat completions through OpenAI's own client, on a scripted generator."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from config import ServeSettings
from server.errors import EngineFailed, Overloaded
from server.generation.types import StopCause
from server.parsers.harmony import FINAL
from tests.http.openai.conftest import CHANNELS, Serve
from tests.support.leaving import asking
from tests.support.live import wait_for

USER: Any = [{"role": "user", "content": "Hi"}]


def test_answer(serve: Serve) -> None:
    live = serve()
    answer = live.client.chat.completions.create(model="fake-model", messages=USER)
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.model == "fake-model"
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content == "Hello, world"
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"
    assert choice.logprobs is None
    usage = answer.usage
    assert usage is not None
    assert usage.completion_tokens == 3
    assert usage.total_tokens == usage.prompt_tokens + 3
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 2
    assert answer.model_extra is not None
    assert answer.model_extra["timings"]["predicted_n"] == 3
    assert live.prompt() == "<|user|>Hi<|assistant|>"


def test_stream(serve: Serve) -> None:
    stream = serve().client.chat.completions.create(model="", messages=USER, stream=True)
    chunks = list(stream)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert [delta.content for delta in deltas[1:-1]] == ["Hello", ",", " world"]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 4 + ["stop"]
    assert all(chunk.usage is None for chunk in chunks)
    assert deltas[-1].model_dump(exclude_none=True) == {}
    assert chunks[-1].model_extra is not None
    assert "timings" in chunks[-1].model_extra


def test_stream_bytes(serve: Serve) -> None:
    live = serve(["Hi"])
    text = live.post("/chat/completions", messages=USER, stream=True).text
    events = text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(event.startswith('data: {"id":"chatcmpl-') for event in events[:-2])
    assert '"usage"' not in text


def test_usage_in_a_stream_when_asked(serve: Serve) -> None:
    options: Any = {"include_usage": True}
    chunks = list(
        serve().client.chat.completions.create(
            model="", messages=USER, stream=True, stream_options=options
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert all(chunk.usage is None for chunk in chunks[:-1])


@pytest.mark.anyio
async def test_async_client(serve: Serve) -> None:
    live = serve()
    async with live.async_client() as client:
        answer = await client.chat.completions.create(model="", messages=USER)
        assert answer.choices[0].message.content == "Hello, world"
        stream = await client.chat.completions.create(model="", messages=USER, stream=True)
        texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(texts) == "Hello, world"


def test_choices_have_their_own_seeds(serve: Serve) -> None:
    live = serve()
    answer = live.client.chat.completions.create(model="", messages=USER, n=3, seed=7)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert sorted(request.spec.sampling.seed for request in live.generator.opened) == [7, 8, 9]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 9
    assert answer.usage.prompt_tokens == len(live.generator.opened[0].spec.prompt)


def test_choices_in_a_stream(serve: Serve) -> None:
    stream = serve().client.chat.completions.create(model="", messages=USER, n=2, stream=True)
    texts = {0: "", 1: ""}
    ends = {}
    for chunk in stream:
        choice = chunk.choices[0]
        texts[choice.index] += choice.delta.content or ""
        if choice.finish_reason:
            ends[choice.index] = choice.finish_reason
    assert texts == {0: "Hello, world", 1: "Hello, world"}
    assert ends == {0: "stop", 1: "stop"}


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_limits(serve: Serve, field: str) -> None:
    live = serve()
    limit: Any = {field: 2}
    answer = live.client.chat.completions.create(model="", messages=USER, **limit)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content == "Hello,"
    assert live.generator.opened[0].spec.max_tokens == 2


def test_stop(serve: Serve) -> None:
    live = serve()
    answer = live.client.chat.completions.create(model="", messages=USER, stop=[","])
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content == "Hello"
    assert live.generator.opened[0].stop == (",",)


def test_sampling_fields(serve: Serve) -> None:
    live = serve()
    live.client.chat.completions.create(
        model="",
        messages=USER,
        temperature=0.5,
        top_p=0.25,
        presence_penalty=1.0,
        logit_bias={"65": -100},
        extra_body={"top_k": 3, "min_p": 0.125},
    )
    sampling = live.generator.opened[0].spec.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.25, 3)
    assert (sampling.presence_penalty, sampling.min_p) == (1.0, 0.125)
    assert sampling.logit_bias == ((65, -100.0),)


def test_logprobs(serve: Serve) -> None:
    live = serve(["A", "B"])
    answer = live.client.chat.completions.create(
        model="", messages=USER, logprobs=True, top_logprobs=2
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [entry.token for entry in logprobs.content] == ["A", "B"]
    assert logprobs.content[0].bytes == [65]
    assert logprobs.content[0].logprob == -0.5
    assert [top.token for top in logprobs.content[0].top_logprobs] == ["a", "b"]


def test_logprobs_in_a_stream(serve: Serve) -> None:
    live = serve(["<", "b", ">"])
    stream = live.client.chat.completions.create(
        model="", messages=USER, logprobs=True, stream=True
    )
    tokens = []
    for chunk in stream:
        logprobs = chunk.choices[0].logprobs
        tokens += [entry.token for entry in (logprobs.content if logprobs else None) or ()]
    assert tokens == ["<", "b", ">"]


def test_timings_and_progress(serve: Serve) -> None:
    stream = serve().client.chat.completions.create(
        model="",
        messages=USER,
        stream=True,
        extra_body={"timings_per_token": True, "return_progress": True},
    )
    extras = [chunk.model_extra or {} for chunk in stream]
    assert [extra["prompt_progress"]["processed"] > 0 for extra in extras[1:3]] == [True, True]
    assert [extra["timings"]["predicted_n"] for extra in extras[3:]] == [1, 2, 3, 3]


def test_thinking_is_split_off(serve: Serve) -> None:
    live = serve(["<thi", "nk>\n", "Hm", "m.\n", "</think>\n\n", "Yes."])
    answer = live.client.chat.completions.create(model="", messages=USER)
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2
    message = answer.choices[0].message
    assert message.content == "Yes."
    assert (message.model_extra or {})["reasoning_content"] == "Hmm."
    chunks = list(live.client.chat.completions.create(model="", messages=USER, stream=True))
    deltas = [chunk.choices[0].delta.model_dump(exclude_none=True) for chunk in chunks]
    assert deltas[1:-1] == [
        {"reasoning_content": "Hm"},
        {"reasoning_content": "m."},
        {"content": "Yes."},
    ]


def test_logprobs_are_those_of_the_content(serve: Serve) -> None:
    live = serve(["<think>", "Hm", "</think>", "\n\n", "Yes", "."])
    chats = live.client.chat.completions
    logprobs = chats.create(model="", messages=USER, logprobs=True).choices[0].logprobs
    assert logprobs is not None
    assert [entry.token for entry in logprobs.content or ()] == ["Yes", "."]
    stream = chats.create(model="", messages=USER, logprobs=True, stream=True)
    streamed = [part for chunk in stream if (part := chunk.choices[0].logprobs) is not None]
    tokens = [entry.token for part in streamed for entry in part.content or ()]
    assert tokens == ["Yes", "."]


def test_thinking_can_stay_in_the_text(serve: Serve) -> None:
    live = serve(["<think>", "Hm", "</think>", "Yes."])
    body: Any = {"reasoning_format": "none"}
    answer = live.client.chat.completions.create(model="", messages=USER, extra_body=body)
    assert answer.choices[0].message.content == "<think>Hm</think>Yes."


@pytest.mark.parametrize(
    "body",
    [
        {"reasoning_effort": "none"},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ],
)
def test_thinking_can_be_turned_off(serve: Serve, body: dict[str, Any]) -> None:
    live = serve()
    live.client.chat.completions.create(model="", messages=USER, extra_body=body)
    assert live.prompt().endswith("<think></think>")


def test_assistant_prefill(serve: Serve) -> None:
    live = serve()
    messages: Any = [*USER, {"role": "assistant", "content": "Once "}]
    live.client.chat.completions.create(model="", messages=messages)
    assert live.prompt() == "<|user|>Hi<|assistant|>Once "
    body: Any = {"continue_final_message": False}
    live.client.chat.completions.create(model="", messages=messages, extra_body=body)
    assert live.prompt() == "<|user|>Hi<|assistant|>Once <|assistant|>"


def test_content_parts_and_developer(serve: Serve) -> None:
    live = serve()
    messages: Any = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    live.client.chat.completions.create(model="", messages=messages)
    assert live.prompt() == "<|system|>Be brief.<|user|>a\nb<|assistant|>"


def test_openais_fields_without_effect(serve: Serve) -> None:
    answer = serve().client.chat.completions.create(
        model="", messages=USER, user="u", metadata={"a": "b"}, store=False, service_tier="auto"
    )
    assert answer.choices[0].message.content == "Hello, world"


@pytest.mark.parametrize("name", ["fake-model", "alias", "", "fake", "fake.gguf"])
def test_names_of_the_model(serve: Serve, name: str) -> None:
    settings = ServeSettings.model_validate({"alias": "alias,other"})
    live = serve(settings=settings)
    answer = live.client.chat.completions.create(model=name, messages=USER)
    assert answer.model == "fake-model"


def test_unknown_model(serve: Serve) -> None:
    strict = serve(settings=ServeSettings(strict_model=True))
    with pytest.raises(openai.NotFoundError) as caught:
        strict.client.chat.completions.create(model="gpt-4", messages=USER)
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages.0"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}, "messages.0"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content.0",
        ),
        ({"messages": USER, "temperature": "hot"}, "temperature"),
        ({"messages": USER, "n": 0}, "n"),
        ({"messages": USER, "top_logprobs": 2}, "top_logprobs"),
        ({"messages": USER, "audio": {"voice": "x"}}, "audio"),
        ({"messages": USER, "modalities": ["text", "audio"]}, "modalities"),
        ({"messages": USER, "prediction": {"type": "content"}}, "prediction"),
        ({"messages": USER, "web_search_options": {}}, "web_search_options"),
        ({"messages": USER, "functions": [{"name": "f"}]}, "functions"),
        ({"messages": USER, "reasoning_format": "loud"}, "reasoning_format"),
        ({"messages": USER, "response_format": {"type": "xml"}}, "response_format"),
        ({"messages": USER, "response_format": {"type": "json_schema"}}, "response_format"),
        ({"messages": USER, "stream": "yes"}, "stream"),
    ],
)
def test_refusals_name_the_field(serve: Serve, body: dict[str, Any], param: str) -> None:
    live = serve()
    response = live.post("/v1/chat/completions", **body)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert param.split(".")[-1] in error["message"]
    assert live.generator.opened == []


def test_the_templates_own_words(serve: Serve) -> None:
    live = serve(template="{{ raise_exception('only on Sundays') }}")
    with pytest.raises(openai.BadRequestError, match="only on Sundays"):
        live.client.chat.completions.create(model="", messages=USER)


def test_full_queue(serve: Serve) -> None:
    live = serve(fail_on_open=Overloaded("the queue is full", retry_after=3))
    for stream in (False, True):
        with pytest.raises(openai.RateLimitError) as caught:
            live.client.chat.completions.create(model="", messages=USER, stream=stream)
        assert caught.value.response.headers["retry-after"] == "3"


def test_failure_in_the_middle_of_a_stream(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    live = serve(fail_after=(2, EngineFailed("the engine died")))
    stream = live.client.chat.completions.create(model="", messages=USER, stream=True)
    texts = [next(stream).choices[0].delta.content for _ in range(3)]
    assert texts == [None, "Hello", ","]
    with pytest.raises(openai.APIError, match="the engine died"):
        next(stream)
    assert "a stream ended with an error: 500 server_error" in caplog.text


def test_a_client_that_leaves_frees_its_sequences(serve: Serve) -> None:
    live = serve(["x"] * 10_000, delay=0.01)
    with asking(live.url, "/v1/chat/completions", {"messages": USER, "n": 2}):
        assert wait_for(lambda: live.generator.running == 2)
    assert wait_for(lambda: live.generator.aborted == 2)
    assert live.generator.running == 0


def test_a_client_that_leaves_a_stream_frees_its_sequences(serve: Serve) -> None:
    live = serve(["x"] * 10_000, delay=0.01)
    with live.client.chat.completions.create(model="", messages=USER, n=2, stream=True) as stream:
        next(stream)
        assert live.generator.running == 2
    assert wait_for(lambda: live.generator.aborted == 2)
    assert live.generator.running == 0


def test_finish_reason_of_a_full_context(serve: Serve) -> None:
    live = serve(cause=StopCause.LIMIT)
    answer = live.client.chat.completions.create(model="", messages=USER)
    assert answer.choices[0].finish_reason == "length"


def test_tokens_when_asked(serve: Serve) -> None:
    live = serve(["A", "B"])
    body: Any = {"return_tokens": True}
    answer = live.client.chat.completions.create(model="", messages=USER, extra_body=body)
    assert (answer.choices[0].model_extra or {})["tokens"] == [65, 66]
    stream = live.client.chat.completions.create(
        model="", messages=USER, extra_body=body, stream=True
    )
    tokens = [(chunk.choices[0].model_extra or {}).get("tokens") for chunk in stream]
    assert tokens == [None, [65], [66], None]


def test_an_answer_can_be_sent_back_as_it_came(serve: Serve) -> None:
    live = serve(["<think>", "Hm", "</think>", "Yes."])
    message = live.client.chat.completions.create(model="", messages=USER).choices[0].message
    messages: Any = [*USER, message.model_dump(), {"role": "user", "content": "Sure?"}]
    live.client.chat.completions.create(model="", messages=messages)
    assert live.prompt() == "<|user|>Hi<|assistant|>Yes.<|user|>Sure?<|assistant|>"


def answered(**fields: Any) -> list[dict[str, Any]]:
    """A chat with an answer of the model in its middle."""
    return [*USER, {"role": "assistant", **fields}, {"role": "user", "content": "And?"}]


def past_call(arguments: Any) -> list[dict[str, Any]]:
    return [{"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}]


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, ""),
        ({"content": None}, ""),
        ({"content": ""}, ""),
        ({"content": []}, ""),
        ({"content": None, "tool_calls": []}, ""),
        ({"content": None, "tool_calls": None, "refusal": None, "function_call": None}, ""),
        ({"content": None, "reasoning_content": "Hm."}, ""),
        ({"content": None, "reasoning": "Hm.", "audio": None, "annotations": []}, ""),
        ({"content": None, "refusal": "No."}, "No."),
        ({"content": None, "tool_calls": past_call("")}, "f{}"),
        ({"content": "", "tool_calls": past_call(" ")}, "f{}"),
        ({"content": None, "tool_calls": past_call(None)}, "f{}"),
        ({"content": None, "tool_calls": past_call({"city": "Bérn"})}, 'f{"city": "Bérn"}'),
    ],
)
def test_answers_in_the_history(serve: Serve, fields: dict[str, Any], shown: str) -> None:
    live = serve()
    response = live.post("/v1/chat/completions", messages=answered(**fields))
    assert response.status_code == 200, response.text
    assert live.prompt() == f"<|user|>Hi<|assistant|>{shown}<|user|>And?<|assistant|>"


@pytest.mark.parametrize("content", [{"content": None}, {"content": ""}, {"content": []}, {}])
def test_a_tool_may_say_nothing(serve: Serve, content: dict[str, Any]) -> None:
    live = serve()
    call = {"role": "assistant", "content": None, "tool_calls": past_call("{}")}
    result = {"role": "tool", "tool_call_id": "c", **content}
    response = live.post("/v1/chat/completions", messages=[*USER, call, result])
    assert response.status_code == 200, response.text
    assert live.prompt() == "<|user|>Hi<|assistant|>f{}<|tool|><|assistant|>"


ONCE = {"role": "assistant", "content": "Once "}
THOUGHT = {"role": "assistant", "content": None, "reasoning_content": "Hm"}
THINKING_TEMPLATE = """\
{%- for m in messages -%}
{{ '<|' + m.role + '|>' }}
{%- if m.reasoning_content %}{{ '<think>' + m.reasoning_content + '</think>' }}{% endif -%}
{{ m.content }}{%- for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor -%}
{%- endfor -%}
{%- if add_generation_prompt %}<|assistant|>{% endif -%}
"""


@pytest.mark.parametrize(
    ("last", "fields", "end"),
    [
        (ONCE, {}, "<|assistant|>Once "),
        (ONCE, {"add_generation_prompt": None}, "<|assistant|>Once "),
        (ONCE, {"add_generation_prompt": False}, "<|assistant|>Once "),
        (ONCE, {"add_generation_prompt": True}, "<|assistant|>Once "),
        (ONCE, {"continue_final_message": True}, "<|assistant|>Once "),
        (ONCE, {"continue_final_message": "content"}, "<|assistant|>Once "),
        (ONCE, {"continue_final_message": "reasoning_content"}, "<|assistant|>Once "),
        (
            ONCE,
            {"continue_final_message": True, "add_generation_prompt": False},
            "<|assistant|>Once ",
        ),
        (
            ONCE,
            {"continue_final_message": True, "add_generation_prompt": None},
            "<|assistant|>Once ",
        ),
        (ONCE, {"continue_final_message": False}, "<|assistant|>Once <|assistant|>"),
        (
            ONCE,
            {"continue_final_message": False, "add_generation_prompt": False},
            "<|assistant|>Once ",
        ),
        (THOUGHT, {}, "<|assistant|><think>Hm"),
        (THOUGHT, {"continue_final_message": "content"}, "<|assistant|><think>Hm</think>"),
        (
            THOUGHT | {"content": "So "},
            {"continue_final_message": "reasoning_content"},
            "<|assistant|><think>Hm",
        ),
        (THOUGHT | {"content": "So "}, {}, "<|assistant|><think>Hm</think>So "),
        ({"role": "assistant", "content": None}, {}, "<|assistant|>"),
    ],
)
def test_a_last_message_of_the_assistant(
    serve: Serve, last: dict[str, Any], fields: dict[str, Any], end: str
) -> None:
    live = serve(template=THINKING_TEMPLATE)
    response = live.post("/v1/chat/completions", messages=[*USER, last], **fields)
    assert response.status_code == 200, response.text
    assert live.prompt() == "<|user|>Hi" + end


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/apply-template"])
@pytest.mark.parametrize("asked", [True, "content", "reasoning_content"])
def test_an_answer_is_continued_or_begun(serve: Serve, path: str, asked: object) -> None:
    both = {"continue_final_message": asked, "add_generation_prompt": True}
    response = serve().post(path, messages=[*USER, ONCE], **both)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "continue_final_message"


def test_thinking_that_was_cut_goes_on_in_the_same_field(serve: Serve) -> None:
    live = serve([" it", " is", ".</think>", "\n\nParis"], template=THINKING_TEMPLATE)
    message = live.post("/v1/chat/completions", messages=[*USER, THOUGHT]).json()["choices"][0][
        "message"
    ]
    assert (message["reasoning_content"], message["content"]) == (" it is.", "Paris")


@pytest.mark.parametrize(
    ("last", "pieces", "thinking", "text"),
    [
        (
            THOUGHT,
            [" it is.", "<|end|>", *"<|start|>assistant", FINAL, "Paris"],
            " it is.",
            "Paris",
        ),
        (ONCE, ["upon", " a time"], None, "upon a time"),
        (ONCE, ["upon"], None, "upon"),
    ],
)
def test_a_channel_is_continued(
    serve: Serve, last: dict[str, Any], pieces: list[str], thinking: str | None, text: str
) -> None:
    live = serve(pieces, template=CHANNELS)
    messages: Any = [*USER, last]
    events = list(live.client.chat.completions.create(model="", messages=messages, stream=True))
    deltas = [event.choices[0].delta.model_dump() for event in events]
    assert "".join(delta["content"] or "" for delta in deltas) == text
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == (thinking or "")
    if last is ONCE:
        assert [delta["content"] for delta in deltas if delta["content"]] == pieces
