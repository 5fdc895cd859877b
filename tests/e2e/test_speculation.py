"""Speculative decoding in a real server, with the demo pair: no answer changes on any route."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.paths import DEMO_DRAFT
from tests.support.processes import DEADLINE, SAME_SUMS, Server, Stream, serving, wait_until
from tests.support.tiny_models import single_layer

# Drafts of maximum length, whether that pays for such a small model or not.
FLAGS = (
    *("-md", str(DEMO_DRAFT), "--spec-type", "draft-simple,ngram-simple,ngram-mod"),
    *("--spec-ngram-simple-size-n", "3", "--spec-ngram-mod-n-match", "5"),
    *("--no-measure-costs", "--metrics"),
)
METHODS = ["draft-simple", "ngram-simple", "ngram-mod", "ngram-simple,ngram-mod,draft-simple"]
QUESTIONS = (
    "Count from 1 to 20.",
    "Repeat: the train from Oslo to Rome leaves in 40 minutes, the train from Oslo leaves",
    "What is 17 plus 25?",
    "What is the capital of France?",
    "Tell me a short story about a fox.",
)


def prompt(question: str) -> str:
    opening = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    return f"<|im_start|>user\n{question}<|im_end|>\n{opening}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(*FLAGS) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=DEADLINE) as client:
        yield client


def post(client: httpx.Client, path: str, **body: Any) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def complete(client: httpx.Client, question: str, **body: Any) -> Any:
    body = {"temperature": 0, "return_tokens": True, "n_predict": 96} | body
    return post(client, "/completion", prompt=prompt(question), **body)


def chat(client: httpx.Client, question: str, **body: Any) -> Any:
    messages = [{"role": "user", "content": question}]
    return post(client, "/v1/chat/completions", messages=messages, **({"temperature": 0} | body))


@pytest.mark.parametrize("methods", METHODS)
def test_the_tokens_are_those_without(client: httpx.Client, methods: str) -> None:
    guessed = right = 0
    for question in QUESTIONS:
        plain = complete(client, question, spec_type="none")
        found = complete(client, question, spec_type=methods)
        assert found["tokens"] == plain["tokens"]
        assert found["stop_type"] == plain["stop_type"]
        assert "draft_n" not in plain["timings"]
        guessed += found["timings"].get("draft_n", 0)
        right += found["timings"].get("draft_n_accepted", 0)
    assert guessed >= right > 0


def test_a_right_guess_saves_a_step(client: httpx.Client) -> None:
    def steps() -> float:
        page = client.get("/metrics").text
        [line] = [line for line in page.splitlines() if line.startswith("llamacpp:n_decode_total")]
        return float(line.split()[-1])

    before = steps()
    answer = complete(client, QUESTIONS[0], spec_type="draft-simple", cache_prompt=False)
    taken = steps() - before
    timings = answer["timings"]
    # One step yields the first token; each other step yields one token besides its accepted ones.
    assert taken <= timings["predicted_n"] - timings["draft_n_accepted"] + 1
    assert taken < timings["predicted_n"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seed_gives_the_same_text_with_and_without(client: httpx.Client, seed: int) -> None:
    wishes = {"temperature": 1.0, "seed": seed, "n": 2, "max_tokens": 60}
    plain = chat(client, QUESTIONS[4], spec_type="none", **wishes)
    found = chat(client, QUESTIONS[4], **wishes)
    texts = [choice["message"]["content"] for choice in plain["choices"]]
    assert [choice["message"]["content"] for choice in found["choices"]] == texts
    assert texts[0] != texts[1]


@pytest.mark.parametrize("path", ["/v1/completions", "/completion", "/v1/chat/completions"])
def test_a_stream_says_the_same(client: httpx.Client, server: Server, path: str) -> None:
    asked: dict[str, Any] = {"prompt": prompt(QUESTIONS[0])}
    if "chat" in path:
        asked = {"messages": [{"role": "user", "content": QUESTIONS[0]}]}
    asked |= {"temperature": 0, "max_tokens": 64}
    whole = post(client, path, **asked, spec_type="none")
    with client.stream("POST", path, json={**asked, "stream": True}) as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines()]
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert "".join(map(text_of, events)) == text_of(whole)
    assert events[-1]["timings"]["draft_n"] > 0


def text_of(answer: dict[str, Any]) -> str:
    """The text of an answer or of an event, in any of the dialects."""
    if "choices" not in answer:
        return str(answer["content"])
    [choice] = answer["choices"]
    part = choice.get("delta") or choice.get("message") or choice
    return part.get("text") or part.get("content") or ""


def test_log_probabilities_are_those_without(client: httpx.Client) -> None:
    def entries(**body: Any) -> list[Any]:
        answer = complete(client, QUESTIONS[4], n_probs=3, temperature=1, seed=3, **body)
        return list(answer["completion_probabilities"])

    plain, found = entries(spec_type="none"), entries(spec_type="draft-simple")
    assert [entry["id"] for entry in found] == [entry["id"] for entry in plain]
    assert any(entry["logprob"] < -0.5 for entry in plain)
    for ours, theirs in zip(found, plain, strict=True):
        assert ours["logprob"] == pytest.approx(theirs["logprob"], abs=0.1)
        tops = [[top["logprob"] for top in entry["top_logprobs"]] for entry in (ours, theirs)]
        assert tops[0] == pytest.approx(tops[1], abs=0.1)


@pytest.mark.parametrize(
    "wish",
    [
        {"json_schema": {"type": "array", "items": {"type": "integer"}, "maxItems": 12}},
        {"grammar": 'root ::= ("one " | "two " | "three ")+ "stop"', "n_predict": 40},
        {"grammar": 'root ::= [0-9, ]+ "."', "n_predict": 40},
    ],
    ids=["schema", "words", "digits"],
)
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_constraints_hold(client: httpx.Client, wish: dict[str, Any], temperature: float) -> None:
    asked = {"temperature": temperature, "seed": 5, **wish}
    plain = complete(client, QUESTIONS[0], spec_type="none", **asked)
    found = complete(client, QUESTIONS[0], **asked)
    assert found["content"] == plain["content"]
    if "json_schema" in wish and found["stop_type"] == "eos":
        assert all(isinstance(item, int) for item in json.loads(found["content"]))


def test_a_tool_call_is_the_same(client: httpx.Client) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    function = {"name": "get_weather", "description": "The weather.", "parameters": parameters}
    tools = [{"type": "function", "function": function}]
    for choice in ("auto", "required"):
        asked = {"tools": tools, "tool_choice": choice}
        plain = chat(client, "What is the weather in Oslo?", spec_type="none", **asked)
        found = chat(client, "What is the weather in Oslo?", **asked)
        calls = [
            [call["function"] for call in answer["choices"][0]["message"]["tool_calls"]]
            for answer in (plain, found)
        ]
        assert calls[0] == calls[1]
        assert calls[0][0]["name"] == "get_weather"


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_limits_are_kept_to_the_token(client: httpx.Client, limit: int) -> None:
    answer = complete(client, QUESTIONS[0], n_predict=limit)
    assert answer["tokens_predicted"] == len(answer["tokens"]) == limit
    assert answer["stop_type"] == "limit"


def test_stop_strings_end_an_answer_where_they_would_have(client: httpx.Client) -> None:
    plain = complete(client, QUESTIONS[0], stop=[" 7"], spec_type="none")
    found = complete(client, QUESTIONS[0], stop=[" 7"])
    assert found["content"] == plain["content"]
    assert found["stopping_word"] == " 7"
    assert found["tokens"] == plain["tokens"]


def test_streams_side_by_side(client: httpx.Client, server: Server) -> None:
    plain = {q: complete(client, q, spec_type="none")["content"] for q in QUESTIONS}
    streams = [
        (question, Stream(server, prompt(question), n_predict=96, spec_type=methods))
        for question in QUESTIONS
        for methods in (*METHODS, "none")
    ]
    for question, stream in streams:
        assert stream.join() == plain[question]
        assert stream.is_whole


def test_a_shared_prefix_and_a_next_turn(client: httpx.Client) -> None:
    """The draft model's cells of a prefix may be copied or computed; the text is the same."""
    first = prompt(QUESTIONS[0])
    answer = complete(client, QUESTIONS[0])["content"]
    follow_up = f"{first}{answer}<|im_end|>\n{prompt('And from 20 down to 1?')}"
    asked = {"prompt": follow_up, "temperature": 0, "n_predict": 64}
    plain = post(client, "/completion", **asked, spec_type="none")
    for slot in range(4):
        found = post(client, "/completion", **asked, id_slot=slot)
        assert found["content"] == plain["content"]


def test_metrics_count_what_the_answers_told(client: httpx.Client) -> None:
    def counters() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        return {
            line.split("{")[0]: float(line.split()[-1])
            for line in lines
            if line.startswith("llamacpp:spec_decode_num") and "position" not in line
        }

    before = counters()
    answers = [complete(client, question)["timings"] for question in QUESTIONS]
    after = counters()
    name = "llamacpp:spec_decode_num"
    for counted, told in (("draft_tokens", "draft_n"), ("accepted_tokens", "draft_n_accepted")):
        key = f"{name}_{counted}_total"
        assert after[key] - before[key] == sum(timings.get(told, 0) for timings in answers)
    assert after[f"{name}_drafts_total"] > before[f"{name}_drafts_total"]


def test_a_killed_engine_changes_neither_text_nor_counts_backwards() -> None:
    with (
        serving(*FLAGS, *SAME_SUMS) as server,
        httpx.Client(base_url=server.url, timeout=DEADLINE) as client,
    ):
        asked = {"prompt": prompt("Tell me a long story about a sailor."), "temperature": 0}
        asked |= {"n_predict": 300, "timings_per_token": True, "stream": True}
        plain = post(client, "/completion", **asked | {"stream": False, "spec_type": "none"})
        text, counts = "", [0]
        with client.stream("POST", "/completion", json=asked) as response:
            for line in response.iter_lines():
                if not line.startswith("data: "):
                    continue
                event = json.loads(line.removeprefix("data: "))
                text += event["content"]
                counts.append(event["timings"].get("draft_n", 0))
                if len(counts) == 4:
                    server.kill_engine()
        assert text == plain["content"]
        assert counts == sorted(counts)
        assert counts[-1] > 0
        wait_until(server.is_ready)


def test_another_vocabulary_is_refused_at_the_start(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    single_layer(other)
    server = Server("-md", str(other))
    try:
        wait_until(lambda: server.process.poll() is not None)
        assert server.process.returncode == 1
        assert "vocabulary" in server.text
    finally:
        server.end()
