"""A newcomer's first steps: serve the embedded model, and use the official client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.support.processes import Server

ASKED: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the capital of France?"}
]


@pytest.fixture(scope="module")
def client() -> Iterator[OpenAI]:
    server = Server()
    try:
        server.wait_ready()
        yield OpenAI(base_url=f"{server.url}/v1", api_key="none")
    finally:
        server.end()


def test_a_question_is_answered(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="demo-target", messages=ASKED, temperature=0)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_a_stream_gives_the_same_words(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="demo-target", messages=ASKED, temperature=0)
    stream = client.chat.completions.create(
        model="demo-target", messages=ASKED, temperature=0, stream=True
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert len(pieces) > 2
    assert "".join(pieces) == whole.choices[0].message.content


def test_the_same_seed_gives_the_same_story(client: OpenAI) -> None:
    stories = [
        client.chat.completions.create(
            model="demo-target",
            messages=[{"role": "user", "content": "Tell me a short story."}],
            temperature=1.5,
            seed=seed,
            max_tokens=60,
        )
        .choices[0]
        .message
        for seed in (7, 7, 8)
    ]
    assert stories[0] == stories[1]
    assert stories[0] != stories[2]
