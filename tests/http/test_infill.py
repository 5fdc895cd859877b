"""`/infill`, and `suffix` of `/v1/completions`: the prompts that reach the engine, and errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from config import ServeSettings
from server.app import create_app
from server.model.tokenizer import FimTokens
from tests.support.fake_server import BOS, EOS, ByteTokenizer, FakeServer, make_server
from tests.support.live_engine import LetterBackend, live_server

PRE, SUF, MID, REPOSITORY, FILE = range(250, 255)
"""Ids of bytes that UTF-8 doesn't have."""

SHORT = {"input_prefix": "ab", "input_suffix": "yz"}

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def filling(
    *, files: bool = False, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, FakeServer]]:
    """A server whose vocabulary has the tokens for filling in the middle."""

    class Filling(ByteTokenizer):
        fim = FimTokens(PRE, SUF, MID, *((REPOSITORY, FILE) if files else (None, None)))

    server = make_server(ServeSettings(**settings))
    app = create_app(replace(server.context, tokenizer=Filling()))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client, server


def prompts(server: FakeServer) -> list[list[int]]:
    return [list(request.spec.prompt) for request in server.generator.opened]


def written(*parts: str | int) -> list[int]:
    """Texts and ids as tokens."""
    tokens: list[int] = []
    for part in parts:
        tokens += [part] if isinstance(part, int) else part.encode()
    return tokens


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ({}, [BOS, PRE, "ab", SUF, "yz", MID]),
        ({"prompt": "cd"}, [BOS, PRE, "abcd", SUF, "yz", MID]),
        ({"input_prefix": "", "input_suffix": ""}, [BOS, PRE, SUF, MID]),
        ({"input_prefix": ["a", 98], "input_suffix": [121, "z"]}, [BOS, PRE, "ab", SUF, "yz", MID]),
        ({"input_prefix": "<s>x"}, [BOS, PRE, "<s>x", SUF, "yz", MID]),
        (
            {"input_extra": [{"text": "t", "filename": "f"}]},
            ["\n\n--- snippet ---\n\nt", BOS, PRE, "ab", SUF, "yz", MID],
        ),
    ],
)
async def test_the_gap_comes_last(body: dict[str, Any], parts: Sequence[str | int]) -> None:
    async with filling(batch_size=32, ubatch_size=32) as (client, server):
        answer = await client.post("/infill", json=SHORT | body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["tokens_evaluated"] == len(prompts(server)[0])
    assert prompts(server) == [written(*parts)]


async def test_other_files_have_their_names() -> None:
    extras = [{"text": "one", "filename": "a.py"}, {"text": "two"}]
    async with filling(files=True, batch_size=32, ubatch_size=32) as (client, server):
        await client.post("/infill", json=SHORT | {"input_extra": extras})
    names = (FILE, "a.py\none", FILE, "tmp\ntwo", FILE, "filename\n")
    around = (BOS, PRE, "ab", SUF, "yz", MID)
    assert prompts(server) == [written(REPOSITORY, "myproject\n", *names, *around)]


async def test_models_that_want_the_suffix_first() -> None:
    async with filling(spm_infill=True) as (client, server):
        await client.post("/infill", json=SHORT)
        await client.post("/v1/completions", json={"prompt": "ab", "suffix": "yz"})
    assert prompts(server) == [written(BOS, SUF, "yz", PRE, "ab", MID)] * 2


@pytest.mark.parametrize("n_predict", [0, 5])
async def test_long_texts_are_cut_where_they_are_far_from_the_gap(n_predict: int) -> None:
    body = {
        "input_prefix": "p" * 500 + "P",
        "input_suffix": "S" + "s" * 500,
        "input_extra": [{"text": "e" * 900}, {"text": "f" * 20 + "F"}],
        "n_predict": n_predict,
    }
    async with filling(files=True, batch_size=32, ubatch_size=32) as (client, server):
        answer = await client.post("/infill", json=body)
        assert answer.status_code == 200, answer.text
    [prompt] = prompts(server)
    near = written(BOS, PRE, "p" * 23 + "P", SUF, "S" + "s" * 5, MID)
    assert prompt[-len(near) :] == near
    extra = prompt[: -len(near)]
    assert len(extra) == 64  # a quarter of the slot's 128 tokens is the answer's
    assert extra[-31:] == written("f" * 20 + "F", FILE, "filename\n")


async def test_a_prefetch_is_the_beginning_of_what_follows() -> None:
    body = SHORT | {"input_extra": [{"text": "e" * 900}]}
    async with filling(batch_size=32, ubatch_size=32) as (client, server):
        for fields in ({"n_predict": 0}, {"n_predict": 9, "prompt": "c"}):
            answer = await client.post("/infill", json=body | fields)
            assert answer.status_code == 200, answer.text
    first, second = prompts(server)
    num_shared = first.index(SUF)
    assert second[:num_shared] == first[:num_shared]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input_suffix": "a"}, "input_prefix"),
        ({"input_prefix": "a"}, "input_suffix"),
        (SHORT | {"prompt": ["a"]}, "prompt"),
        (SHORT | {"input_prefix": [999]}, "input_prefix"),
        (SHORT | {"input_suffix": {"a": 1}}, "input_suffix"),
        (SHORT | {"input_extra": [{"filename": "x"}]}, "input_extra.0.text"),
        (SHORT | {"input_extra": "x"}, "input_extra"),
        (SHORT | {"input_extra": [{"text": "x", "filename": 1}]}, "input_extra.0.filename"),
    ],
)
async def test_a_wrong_body_names_its_field(body: dict[str, Any], param: str) -> None:
    async with filling() as (client, server):
        answer = await client.post("/infill", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert not server.generator.opened


@pytest.mark.parametrize(
    ("path", "body"),
    [("/infill", SHORT), ("/v1/completions", {"prompt": "a", "suffix": "b"})],
)
async def test_a_model_without_the_tokens(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    answer = await client.post(path, json=body)
    assert answer.status_code == 501
    assert "filling in the middle" in answer.json()["error"]["message"]


async def test_a_suffix_has_the_answer_before_it() -> None:
    async with filling() as (client, server):
        body = {"prompt": ["ab", "cd"], "suffix": "yz", "max_tokens": 2}
        answer = await client.post("/v1/completions", json=body)
        assert len(answer.json()["choices"]) == 2
        await client.post("/v1/completions", json={"prompt": "ab", "suffix": ""})
        too_long = await client.post("/v1/completions", json={"prompt": "ab", "suffix": "z" * 999})
    after = written(SUF, "yz", MID)
    assert prompts(server)[:2] == [written(BOS, PRE, text) + after for text in ("ab", "cd")]
    assert prompts(server)[2] == written(BOS, "ab")
    assert too_long.status_code == 400
    assert "exceeds the available context size" in too_long.json()["error"]["message"]


async def test_several_answers_and_chosen_fields() -> None:
    fields = {"n_cmpl": 2, "response_fields": ["content", "timings/prompt_n"]}
    async with filling() as (client, _):
        answers = (await client.post("/infill", json=SHORT | fields)).json()
    assert [set(answer) for answer in answers] == [{"content", "timings/prompt_n"}] * 2


@pytest.mark.parametrize(
    ("fields", "content", "cause"),
    [
        ({"n_indent": 2}, "a\n  b\n", "limit"),
        ({"n_indent": 0}, "a\n  b\nc", "eos"),
        ({"n_indent": 2, "stop": ["b"]}, "a\n  ", "word"),
    ],
)
async def test_an_indentation_ends_an_answer(
    fields: dict[str, Any], content: str, cause: str
) -> None:
    backend = LetterBackend(n_ctx_slot=128, n_vocab=259, next_token=playing(b"a\n  b\nc"))
    with live_server(lambda: backend) as live:
        answer = live.complete("x", return_tokens=True, **fields).json()
    assert (answer["content"], answer["stop_type"]) == (content, cause)


def playing(text: bytes) -> Callable[[list[int]], int]:
    """A model that writes this text after a prompt of BOS and one letter."""
    return lambda tokens: ([*text, EOS] + [EOS] * 99)[len(tokens) - 2]
