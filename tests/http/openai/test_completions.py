"""Text completions through OpenAI's own client, on a scripted generator."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from config import ServeSettings
from grammars import compiler
from grammars.constraint import Constraint
from protocol.events import TokenLogprobs
from server.generation.types import GeneratedToken
from server.openai.completions.logprobs import TextLogprobs
from tests.http.openai.conftest import Serve
from tests.support.fake_server import BOS, ByteTokenizer


def test_answer(serve: Serve) -> None:
    live = serve()
    answer = live.client.completions.create(model="fake-model", prompt="Say")
    assert answer.id.startswith("cmpl-")
    assert answer.object == "text_completion"
    assert answer.choices[0].text == "Hello, world"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].logprobs is None
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert live.generator.opened[0].spec.prompt == (BOS, *b"Say")


def test_stream(serve: Serve) -> None:
    options: Any = {"include_usage": True}
    live = serve()
    chunks = list(
        live.client.completions.create(model="", prompt="x", stream=True, stream_options=options)
    )
    texts = [choice.text for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == "Hello, world"
    assert len({(chunk.id, chunk.created, chunk.object) for chunk in chunks}) == 1
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert all(chunk.usage is None for chunk in chunks[:-1])
    silent = list(live.client.completions.create(model="", prompt="x", stream=True))
    assert all(chunk.usage is None for chunk in silent)


@pytest.mark.parametrize("prompt", [["a", "b"], [[97], [98]]])
def test_prompts_and_choices(serve: Serve, prompt: Any) -> None:
    live = serve()
    answer = live.client.completions.create(model="", prompt=prompt, n=2, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    prompts = sorted(request.spec.prompt[-1] for request in live.generator.opened)
    assert prompts == [97, 97, 98, 98]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum(len(r.spec.prompt) for r in live.generator.opened) // 2


@pytest.mark.parametrize(("prompt", "text"), [("Say: ", "Say: "), ([72, 105], "Hi")])
def test_echo(serve: Serve, prompt: Any, text: str) -> None:
    live = serve()
    answer = live.client.completions.create(model="", prompt=prompt, echo=True)
    assert answer.choices[0].text == text + "Hello, world"
    stream = live.client.completions.create(model="", prompt=prompt, echo=True, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == text + "Hello, world"


def test_logprobs(serve: Serve) -> None:
    live = serve(["AB", "C"])
    logprobs = live.client.completions.create(model="", prompt="x", logprobs=2).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens == ["AB", "C"]
    assert logprobs.token_logprobs == [-0.5, -0.5]
    assert logprobs.text_offset == [0, 2]
    assert logprobs.top_logprobs == [{"a": -1.0, "b": -2.0}] * 2


@pytest.mark.parametrize(
    ("pieces", "echo", "offsets"),
    [
        ([b"\xf0", b"\x9f", b"\x98", b"\x80", b" ", b"x"], 0, [0, 0, 0, 0, 1, 2]),
        ([b"a\xc3", b"\xa9b", b"c"], 0, [0, 1, 3]),
        ([b"\xe2\x82", b"\xac\xe2", b"\x82\xac", b"!"], 5, [5, 5, 6, 7]),
        ([b"\xff", b"a", b"\xe2", b"b"], 0, [0, 1, 2, 3]),
        ([b"\xe4\xbd\xa0", b"\xe5\xa5\xbd", b""], 0, [0, 1, 2]),
    ],
)
def test_offsets_count_characters(pieces: list[bytes], echo: int, offsets: list[int]) -> None:
    """The tokens of one character share its offset, in one piece and token by token."""
    tokens = [GeneratedToken(1, piece, TokenLogprobs(-0.5, [])) for piece in pieces]
    assert TextLogprobs(ByteTokenizer(), echo).entries(tokens)["text_offset"] == offsets
    streamed = TextLogprobs(ByteTokenizer(), echo)
    assert [streamed.entries([token])["text_offset"] for token in tokens] == [[o] for o in offsets]


def test_logprobs_in_a_stream(serve: Serve) -> None:
    live = serve(["AB", "C"])
    stream = live.client.completions.create(model="", prompt="x", logprobs=0, stream=True)
    offsets = [
        chunk.choices[0].logprobs.text_offset for chunk in stream if chunk.choices[0].logprobs
    ]
    assert offsets == [[0], [2]]


@pytest.mark.anyio
async def test_async_client(serve: Serve) -> None:
    async with serve().async_client() as client:
        answer = await client.completions.create(model="", prompt="x")
        assert answer.choices[0].text == "Hello, world"


def test_best_of_may_equal_n(serve: Serve) -> None:
    answer = serve().client.completions.create(model="", prompt="x", n=2, best_of=2)
    assert len(answer.choices) == 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": [999]}, "prompt"),
        ({"prompt": "x", "suffix": 1}, "suffix"),
        ({"prompt": "x", "best_of": 2}, "best_of"),
        ({"prompt": "x", "logprobs": True}, "logprobs"),
        ({"prompt": "x", "max_tokens": -2}, "max_tokens"),
    ],
)
def test_refusals_name_the_field(serve: Serve, body: dict[str, Any], param: str) -> None:
    live = serve()
    response = live.post("/v1/completions", **body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert live.generator.opened == []


def test_unknown_model(serve: Serve) -> None:
    strict = serve(settings=ServeSettings(strict_model=True))
    with pytest.raises(openai.NotFoundError):
        strict.client.completions.create(model="davinci", prompt="x")


def test_tokens_when_asked(serve: Serve) -> None:
    live = serve(["A", "B"])
    answer = live.client.completions.create(
        model="", prompt="x", extra_body={"return_tokens": True}
    )
    assert (answer.choices[0].model_extra or {})["tokens"] == [65, 66]


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.mark.parametrize("path", ["/v1/completions", "/completion"])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"structured_outputs": {"regex": "[0-9]+"}}, compiler.from_regex("[0-9]+")),
        ({"structured_outputs": {"choice": ["a", "b"]}}, compiler.from_choices(["a", "b"])),
        ({"structured_outputs": {"json": SCHEMA}}, compiler.from_json_schema(SCHEMA)),
        ({"json_schema": SCHEMA}, compiler.from_json_schema(SCHEMA)),
        ({"grammar": "uuid"}, compiler.named("uuid")),
    ],
)
def test_constraints(serve: Serve, path: str, fields: dict[str, Any], expected: Constraint) -> None:
    live = serve()
    assert live.post(path, prompt="x", **fields).status_code == 200
    assert live.generator.opened[-1].spec.constraint == expected


def test_response_format(serve: Serve) -> None:
    live = serve()
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    assert live.post("/v1/completions", prompt="x", response_format=format_).status_code == 200
    assert live.generator.opened[-1].spec.constraint == compiler.from_json_schema(SCHEMA)
    text = {"type": "text"}
    assert live.post("/v1/completions", prompt="x", response_format=text).status_code == 200
    assert live.generator.opened[-1].spec.constraint is None


def test_lazy_grammar(serve: Serve) -> None:
    live = serve()
    fields: dict[str, Any] = {"json_schema": SCHEMA, "grammar_lazy": True}
    triggers = [{"type": 1, "value": "<a>"}, {"type": 0, "value": "", "token": 7}]
    live.post("/completion", prompt="x", grammar_triggers=triggers, **fields)
    inner = compiler.from_json_schema(SCHEMA)
    expected = compiler.lazy(inner, words=("<a>",), tokens=(7,))
    assert live.generator.opened[-1].spec.constraint == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"structured_outputs": {"regex": "["}}, "structured_outputs.regex"),
        ({"structured_outputs": {"json": SCHEMA}, "grammar": "uuid"}, "grammar"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"grammar_lazy": True}, "grammar_lazy"),
        ({"grammar": "uuid", "grammar_lazy": True}, "grammar_triggers"),
        (
            {"grammar": "uuid", "grammar_lazy": True, "grammar_triggers": [{"type": 0}]},
            "grammar_triggers.0",
        ),
        (
            {
                "grammar": "uuid",
                "grammar_lazy": True,
                "grammar_triggers": [{"type": 0, "token": 9999}],
            },
            "grammar_triggers",
        ),
        (
            {
                "grammar": "uuid",
                "grammar_lazy": True,
                "grammar_triggers": [{"type": 1, "value": "a" * 1000}] * 5,
            },
            "grammar_triggers",
        ),
        (
            {
                "grammar": "uuid",
                "grammar_lazy": True,
                "grammar_triggers": [{"type": 2, "value": "a.*"}],
            },
            "grammar_triggers.0.type",
        ),
    ],
)
def test_refused_constraints_name_the_field(
    serve: Serve, fields: dict[str, Any], param: str
) -> None:
    answer = serve().post("/v1/completions", prompt="x", **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
