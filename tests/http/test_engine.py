"""The application on the real generator, client and engine loop; only the model is fake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from config import ServeSettings
from tests.support.fake_server import BOS
from tests.support.live import DEADLINE, wait_for
from tests.support.live_engine import LetterBackend, Live, letter, live_server

N_CTX_SLOT = 128


def make_backend() -> LetterBackend:
    return LetterBackend(n_ctx_slot=N_CTX_SLOT, n_vocab=259, next_token=letter)


def expected(prompt: str, count: int) -> str:
    """The fake model's answer."""
    tokens = [BOS, *prompt.encode()]
    for _ in range(count):
        tokens.append(letter(tokens))
    return bytes(tokens[-count:]).decode()


@pytest.fixture
def live() -> Iterator[Live]:
    with live_server(make_backend, ServeSettings(spec_type=("ngram-simple",))) as live:
        yield live


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    lines = (line for line in response.text.splitlines() if line.startswith("data: {"))
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_an_answer_in_one_piece(live: Live) -> None:
    answer = live.complete("abc", n_predict=10).json()
    assert answer["content"] == expected("abc", 10)
    assert answer["stop_type"] == "limit"
    assert answer["timings"]["prompt_n"] == 4


def test_a_streamed_answer(live: Live) -> None:
    events = events_of(live.complete("abc", n_predict=10, stream=True))
    assert "".join(event["content"] for event in events) == expected("abc", 10)
    assert [event["stop"] for event in events].count(True) == 1


def test_more_clients_than_slots_all_get_their_own_answer(live: Live) -> None:
    prompts = [f"prompt {index}" for index in range(24)]
    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(lambda prompt: live.complete(prompt, n_predict=8), prompts))
    assert [answer.json()["content"] for answer in answers] == [expected(p, 8) for p in prompts]
    assert wait_for(live.is_idle)


def test_a_stop_string_frees_the_slot(live: Live) -> None:
    word = expected("abc", 12)[8:]
    answer = live.complete("abc", stop=[word]).json()
    assert answer["content"] == expected("abc", 12)[:8]
    assert answer["stopping_word"] == word
    assert wait_for(live.is_idle)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(live: Live, stream: bool) -> None:
    live.pair.gate.allow(3)
    with pytest.raises(httpx.ReadTimeout):
        live.client.post("/completion", json={"prompt": "abc", "stream": stream}, timeout=0.2)
    live.pair.gate.allow(None)
    assert wait_for(live.is_idle)


def test_a_prompt_that_cannot_fit_is_refused_with_both_numbers(live: Live) -> None:
    response = live.complete("x" * (N_CTX_SLOT - 1))
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "exceed_context_size_error"
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (N_CTX_SLOT, N_CTX_SLOT)


def test_slots_are_shown_while_they_work(live: Live) -> None:
    with ThreadPoolExecutor(2) as threads:
        live.pair.gate.allow(3)
        answer = threads.submit(live.complete, "abc", n_predict=60)
        assert wait_for(lambda: _num_tokens(live) == 3)
        slots = threads.submit(live.client.get, "/slots")
        assert wait_for(lambda: bool(live.pair.client._queries))
        live.pair.gate.allow(None)
        [busy] = [slot for slot in slots.result().json() if slot["is_processing"]]
        assert busy["params"]["speculative.types"] == "ngram-simple"
        assert answer.result().status_code == 200
    idle = live.client.get("/slots").json()
    assert [slot["is_processing"] for slot in idle] == [False] * 4


def _num_tokens(live: Live) -> int:
    return sum(len(stream.tokens) for stream in list(live.pair.client.streams.values()))


def test_the_engines_death_is_not_seen_by_its_clients(live: Live) -> None:
    live.pair.gate.allow(5)
    prompts = [f"prompt {index}" for index in range(6)]
    with ThreadPoolExecutor(6) as threads:
        answers = [
            threads.submit(live.complete, prompt, n_predict=20, stream=True) for prompt in prompts
        ]
        assert wait_for(lambda: _num_tokens(live) > 0)
        live.call(live.pair.kill_engine())
        assert live.client.get("/readyz").status_code == 503
        live.call(live.pair.start_engine())
        texts = [
            "".join(event["content"] for event in events_of(answer.result(DEADLINE)))
            for answer in answers
        ]
    assert texts == [expected(prompt, 20) for prompt in prompts]


def test_a_failed_batch_is_an_error_of_the_server(live: Live) -> None:
    backend = live.pair.lives[-1].backend
    backend.fail_on = lambda chunks: True
    assert live.complete("abc").status_code == 500
    backend.fail_on = lambda chunks: False
    assert live.complete("abc", n_predict=3).json()["content"] == expected("abc", 3)


def test_several_choices_compute_their_prompt_once(live: Live) -> None:
    prompt = "x" * 100
    response = live.complete(prompt, n=3, n_predict=4)
    assert response.status_code == 200
    assert live.pair.lives[-1].backend.num_computed <= 101 + 3 + 3 * 4


def scores_of(tokens: list[int]) -> list[float | None]:
    """The fake model's scores of these tokens."""
    later = range(1, len(tokens))
    return [None, *(-float(abs(letter(tokens[:at]) - tokens[at])) for at in later)]


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("prompt", ["a", "The end", "long " * 23, [97], [97, 98], "é€😀"])
def test_an_echoed_prompt_is_scored(live: Live, prompt: str | list[int], count: int) -> None:
    """Also where the prompt's cells are there already, and a token at a time."""
    tokens = [BOS, *prompt.encode()] if isinstance(prompt, str) else prompt
    body = {"prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": count, "temperature": 0}
    for _ in range(2):
        answer = live.client.post("/v1/completions", json=body).json()
        choice, lists = answer["choices"][0], answer["choices"][0]["logprobs"]
        assert lists["token_logprobs"] == [*scores_of(tokens), *[0.0] * count]
        assert {len(values) for values in lists.values()} == {len(tokens) + count}
        assert lists["top_logprobs"][0] is None
        assert lists["text_offset"] == sorted(lists["text_offset"])
        echo = prompt if isinstance(prompt, str) else bytes(prompt).decode()
        assert lists["text_offset"][len(tokens) :] == [len(echo) + index for index in range(count)]
        assert choice["text"].startswith(echo)
        assert answer["usage"]["prompt_tokens"] == len(tokens)
        assert answer["usage"]["completion_tokens"] == count
    streamed = events_of(live.client.post("/v1/completions", json={**body, "stream": True}))
    parts = [event["choices"][0]["logprobs"] for event in streamed]
    joined = [value for part in parts if part for value in part["token_logprobs"]]
    assert joined == lists["token_logprobs"]
    assert "".join(event["choices"][0]["text"] for event in streamed) == choice["text"]


def test_many_prompts_are_scored_beside_other_requests(live: Live) -> None:
    prompts = [f"{index} " * 30 for index in range(12)]

    def ask(prompt: str) -> Any:
        live.complete(prompt, n_predict=4)
        body = {"prompt": [prompt, "x"], "echo": True, "logprobs": 0, "max_tokens": 3, "n": 2}
        return live.client.post("/v1/completions", json=body).json()["choices"]

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(ask, prompts))
    for prompt, choices in zip(prompts, answers, strict=True):
        for choice, text in zip(choices, (prompt, prompt, "x", "x"), strict=True):
            scored = scores_of([BOS, *text.encode()])
            assert choice["logprobs"]["token_logprobs"] == [*scored, 0.0, 0.0, 0.0]
    assert wait_for(live.is_idle)
