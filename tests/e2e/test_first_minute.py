"""A newcomer's first steps: serve the embedded model, and use the official client."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.support.paths import ROOT
from tests.support.processes import Server

README = ROOT / "README.md"
QUICKSTART = ROOT / "docs" / "quickstart.md"
DOCUMENTED_URL = "http://127.0.0.1:8080"

ASKED: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the capital of France?"}
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = Server()
    try:
        server.wait_ready()
        yield server.url
    finally:
        server.end()


@pytest.fixture(scope="module")
def client(url: str) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key="none")


def block(document: str, name: str) -> str:
    """The code between the markers `name:begin` and `name:end` of a Markdown document."""
    marked = document.split(f"<!-- {name}:begin -->")[1].split(f"<!-- {name}:end -->")[0]
    return marked.strip().partition("\n")[2].removesuffix("```")


def without_chance(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without ids and the values of times, which differ from run to run."""
    timings = {name: name.endswith("_n") and n for name, n in answer["timings"].items()}
    return {**answer, "id": "", "created": 0, "timings": timings}


def test_the_documented_answer_is_the_answer(url: str) -> None:
    shown = json.loads(block(QUICKSTART.read_text(), "curl"))
    body = {"messages": ASKED, "temperature": 0, "cache_salt": "nobody asked this before"}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()
    assert without_chance(answer) == without_chance(shown)
    assert list(answer["timings"]) == list(shown["timings"])


@pytest.mark.parametrize("document", [README, QUICKSTART])
def test_the_documented_client_prints_the_documented_words(document: Path, url: str) -> None:
    code = block(document.read_text(), "client").replace(DOCUMENTED_URL, url)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (run.stdout.strip(), run.stderr) == (
        block(QUICKSTART.read_text(), "python").strip(),
        "",
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_documented_curl_prints_the_documented_line(url: str) -> None:
    script, _, shown = block(README.read_text(), "curl").partition("\n# ")
    command = script.replace(DOCUMENTED_URL, url)
    run = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == shown.strip()


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
