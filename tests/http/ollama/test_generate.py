"""`/api/generate`: prompts, gaps, conversations as tokens, and errors."""

from __future__ import annotations

import json
from typing import Any

import ollama
import pytest

from server.model.tokenizer import FimTokens
from tests.http.openai.conftest import Live, Serve
from tests.support.fake_server import BOS, ByteTokenizer


class FimTokenizer(ByteTokenizer):
    """Fills gaps; the marks are bytes that no text has."""

    @property
    def fim(self) -> FimTokens | None:
        return FimTokens(prefix=1, suffix=2, middle=3, repository=None, file=None)


def ask(live: Live, **fields: Any) -> Any:
    answer = live.post("/api/generate", **{"model": "m", "prompt": "Hi", "stream": False, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(live: Live, status: int = 400, **fields: Any) -> str:
    answer = live.post("/api/generate", **{"model": "m", "prompt": "Hi", "stream": False, **fields})
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"])


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({}, "<|user|>Hi<|assistant|>"),
        ({"system": "Be kind"}, "<|system|>Be kind<|user|>Hi<|assistant|>"),
        ({"raw": True}, "Hi"),
        ({"raw": True, "prompt": "<|user|>a"}, "<|user|>a"),
        ({"template": "chatml"}, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
        ({"template": "{{ .Prompt }}"}, "Hi"),
        ({"template": "{{.Prompt}}"}, "Hi"),
        ({"think": False}, "<|user|>Hi<|assistant|><think></think>"),
    ],
)
def test_what_reaches_the_model(serve: Serve, fields: Any, prompt: str) -> None:
    live = serve()
    answer = ask(live, **fields)
    assert live.prompt() == prompt
    assert (answer["response"], answer["done_reason"]) == ("Hello, world", "stop")


def test_a_stream_is_the_default(serve: Serve) -> None:
    answer = serve().post("/api/generate", model="m", prompt="Hi")
    assert answer.headers["content-type"] == "application/x-ndjson"
    *pieces, last = [json.loads(line) for line in answer.text.splitlines()]
    assert [piece["response"] for piece in pieces] == ["Hello", ",", " world"]
    assert (last["response"], last["done"], last["done_reason"]) == ("", True, "stop")
    assert all("context" not in piece for piece in pieces)
    assert last["context"]


def test_a_conversation_goes_on_by_its_tokens(serve: Serve) -> None:
    live = serve()
    first = ask(live)
    assert first["context"][0] == BOS
    assert bytes(first["context"][1:-3]) == b"<|user|>Hi<|assistant|>"
    ask(live, prompt="And?", context=first["context"])
    prompt = live.generator.opened[-1].spec.prompt
    n_first = len(first["context"])
    assert list(prompt[:n_first]) == first["context"]
    assert bytes(prompt[n_first:]) == b"<|user|>And?<|assistant|>"
    assert "context" not in ask(live, raw=True)


@pytest.mark.parametrize("token", [300, -1, 2**31, 2**40, "x", 1.5])
def test_tokens_must_be_in_the_vocabulary(serve: Serve, token: Any) -> None:
    assert "'context" in refusal(serve(), context=[72, token])


@pytest.mark.parametrize(
    ("fields", "first", "last"),
    [
        ({}, "<|user|>", "end<|assistant|>"),
        ({"system": "Be kind"}, "<|system|>Be kind<|user|>", "end<|assistant|>"),
        ({"raw": True}, "", "end"),
        ({"template": "chatml"}, "<|im_start|>user\n", "end<|im_end|>\n<|im_start|>assistant\n"),
    ],
)
@pytest.mark.parametrize("length", [90, 1000, 200_000])
def test_of_a_long_prompt_the_end_stays(
    serve: Serve, fields: Any, first: str, last: str, length: int
) -> None:
    live = serve()
    prompt = "x" * length + "end"
    ask(live, prompt=prompt, options={"num_ctx": 90}, **fields)
    assert len(live.generator.opened[-1].spec.prompt) < 90
    assert live.prompt().startswith(first)
    assert live.prompt().endswith(last)
    assert "xend" in live.prompt()
    error = refusal(live, prompt=prompt, options={"num_ctx": 90}, truncate=False, **fields)
    assert "exceeds the available context size (90 tokens)" in error or "at least" in error


def test_of_a_long_gap_the_text_around_it_stays(serve: Serve) -> None:
    live = serve(tokenizer=FimTokenizer())
    gap: Any = {"prompt": "x" * 400 + "def f(", "suffix": "return" + "y" * 400}
    ask(live, options={"num_ctx": 100}, **gap)
    tokens = bytes(live.generator.opened[-1].spec.prompt[1:])
    assert len(tokens) < 99
    assert b"def f(\x02return" in tokens
    assert "exceeds" in refusal(live, options={"num_ctx": 100}, truncate=False, **gap)


def test_of_a_long_conversation_the_end_stays(serve: Serve) -> None:
    live = serve()
    ask(live, context=[BOS, *[72] * 10_000, 73], system="Be kind", options={"num_ctx": 200})
    prompt = live.generator.opened[-1].spec.prompt
    assert len(prompt) < 200
    assert prompt[0] == BOS
    assert bytes(prompt[1:]).endswith(b"HHI<|system|>Be kind<|user|>Hi<|assistant|>")
    error = refusal(live, context=[72] * 10_000, truncate=False)
    assert "exceeds the available context" in error


def test_instructions_are_never_cut(serve: Serve) -> None:
    error = refusal(serve(), system="s" * 200, options={"num_ctx": 100})
    assert "exceeds the available context" in error


@pytest.mark.parametrize("stream", [True, False])
def test_a_gap_is_filled(serve: Serve, stream: bool) -> None:
    live = serve(tokenizer=FimTokenizer())
    answer = live.post(
        "/api/generate", model="m", prompt="def f(", suffix="return x", stream=stream
    )
    assert answer.status_code == 200
    tokens = list(live.generator.opened[-1].spec.prompt)
    assert tokens == [BOS, 1, *b"def f(", 2, *b"return x", 3]
    found = [json.loads(line)["response"] for line in answer.text.splitlines()]
    assert "".join(found) == "Hello, world"


def test_a_model_without_marks_fills_no_gap(serve: Serve) -> None:
    assert refusal(serve(), model="mario", suffix="x") == '"mario" does not support insert'


def test_text_is_not_parsed(serve: Serve) -> None:
    pieces = ("<think>", "hm", "</think>", "So")
    assert ask(serve(pieces))["thinking"] == "hm"
    assert ask(serve(pieces), raw=True)["response"] == "".join(pieces)


def test_logprobs(serve: Serve) -> None:
    for raw in (True, False):
        answer = ask(serve(), raw=raw, logprobs=True, top_logprobs=1)
        assert [entry["token"] for entry in answer["logprobs"]] == ["Hello", ",", " world"]
        assert len(answer["logprobs"][0]["top_logprobs"]) == 1


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"raw": True, "system": "x"}, "raw mode does not support template, system, suffix or"),
        ({"raw": True, "context": [72]}, "raw mode does not support"),
        ({"raw": True, "template": "chatml"}, "raw mode does not support"),
        ({"suffix": "x", "system": "y"}, "'system' can't be combined with 'suffix'"),
        ({"template": "{{ if .System }}x{{ end }}"}, "'template' must be the name of a built-in"),
        ({"images": ["iVBORw0KGgo="]}, "'images' must be left out: the model reads text only"),
        ({"prompt": 5}, "'prompt' must be a string"),
        ({"format": {"type": "nothing"}, "raw": True}, "'format"),
    ],
)
def test_refusals(serve: Serve, fields: Any, text: str) -> None:
    assert text in refusal(serve(), **fields)


@pytest.mark.parametrize("raw", [True, False])
def test_a_format_constrains_the_answer(serve: Serve, raw: bool) -> None:
    live = serve(("{}",))
    for format_ in ("json", {"type": "object", "properties": {}}):
        ask(live, format=format_, raw=raw)
        assert live.generator.opened[-1].spec.constraint is not None


def test_no_prompt_loads_the_model(serve: Serve) -> None:
    live = serve()
    answer = ask(live, prompt="")
    assert (answer["response"], answer["done"], answer["done_reason"]) == ("", True, "load")
    assert live.generator.opened == []
    assert "stays" in refusal(live, 501, model="fake-model", prompt="", keep_alive="0s")


def test_the_official_client(serve: Serve) -> None:
    live = serve(tokenizer=FimTokenizer())
    with ollama.Client(host=live.url) as client:
        answer = client.generate("mario", "Hi", system="Be kind", options={"num_predict": 2})
        assert (answer.response, answer.done_reason, answer.eval_count) == ("Hello,", "length", 2)
        assert answer.context
        again = client.generate("mario", "Hi", context=answer.context, stream=True)
        assert "".join(part.response or "" for part in again) == "Hello, world"
        assert client.generate("mario", "a", suffix="b").response == "Hello, world"
        assert client.generate("mario", "").done_reason == "load"
