"""Counters agree with the usage in answers: over HTTP, on the real engine loop."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from config import ServeSettings
from tests.support.fake_server import key_ring
from tests.support.inprocess import Pair
from tests.support.leaving import asking
from tests.support.live import wait_for
from tests.support.live_engine import letter_backend, live_server

HEADERS = {"Authorization": "Bearer secret"}


@dataclass
class Metered:
    """A running server with metrics."""

    client: httpx.Client
    pair: Pair
    seen: dict[str, float] = field(default_factory=dict)

    def scrape(self) -> dict[str, float]:
        """Values by name and labels, without the label of the model."""
        found = {}
        text = self.client.get("/metrics").raise_for_status().text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = [v for k, v in sample.labels.items() if not k.startswith("model")]
                found[" ".join([sample.name, *labels])] = sample.value
        return found

    def chat(self, text: str, **fields: object) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": text}], "temperature": 0, **fields}
        return self.client.post("/v1/chat/completions", json=body)


@pytest.fixture
def server() -> Iterator[Metered]:
    settings = ServeSettings(metrics=True)
    with live_server(letter_backend, settings, keys=key_ring("secret")) as live:
        live.client.headers.update(HEADERS)
        yield Metered(live.client, live.pair)


def test_usage_and_timings_agree_with_the_counters(server: Metered) -> None:
    prompt = "the same long beginning of every question: "
    answers = [server.chat(prompt + end, max_tokens=9).json() for end in ("a", "b", "c")]
    found = server.scrape()
    usage = [answer["usage"] for answer in answers]
    timings = [answer["timings"] for answer in answers]
    cached = sum(u["prompt_tokens_details"]["cached_tokens"] for u in usage)
    assert cached > 0
    assert found["vllm:prompt_tokens_total"] == sum(u["prompt_tokens"] for u in usage)
    assert found["vllm:generation_tokens_total"] == sum(u["completion_tokens"] for u in usage)
    assert found["vllm:prefix_cache_hits_total"] == cached
    assert found["vllm:prefix_cache_queries_total"] == found["vllm:prompt_tokens_total"]
    assert found["llamacpp:prompt_tokens_total"] == sum(t["prompt_n"] for t in timings)
    assert found["llamacpp:prompt_tokens_cached_total"] == sum(t["cache_n"] for t in timings)
    assert found["llamacpp:tokens_predicted_total"] == sum(t["predicted_n"] for t in timings)
    assert found["llamacpp:prompt_seconds_total"] * 1000 == pytest.approx(
        sum(t["prompt_ms"] for t in timings)
    )
    assert found["llamacpp:tokens_predicted_seconds_total"] * 1000 == pytest.approx(
        sum(t["predicted_ms"] for t in timings)
    )
    saved = [found[f"llamapack_prefix_cache_saved_tokens_total {t}"] for t in ("slot", "copy")]
    assert sum(saved) == cached
    assert found["vllm:request_success_total length"] == 3
    assert found["vllm:request_prompt_tokens_sum"] == found["vllm:prompt_tokens_total"]


def test_an_answer_tells_what_the_cache_had(server: Metered) -> None:
    """On request. The other prompt's own tokens are not told."""
    prompt = "the same long beginning of every question: "
    first = server.chat(prompt + "a", max_tokens=3, return_cache_info=True).json()
    again = server.chat(prompt + "bc", max_tokens=3, return_cache_info=True).json()
    silent = server.chat(prompt + "d", max_tokens=3).json()
    assert first["timings"]["cache"] == {
        "result": "new",
        "from": None,
        "checkpoint": False,
        "reused": 0,
        "shared": 0,
        "first_new": {"position": 0, "token": 256, "text": "<s>"},
    }
    cache = again["timings"]["cache"]
    assert cache.pop("reused") == cache.pop("shared") == again["timings"]["cache_n"] > len(prompt)
    position = cache["first_new"].pop("position")
    assert position == again["timings"]["cache_n"]
    assert cache == {
        "result": "parted",
        "from": "slot",
        "checkpoint": False,
        "first_new": {"token": ord("b"), "text": "b"},
    }
    assert "cache" not in silent["timings"]
    found = server.scrape()
    assert found["llamapack_prefix_cache_lookups_total new"] == 1
    assert found["llamapack_prefix_cache_lookups_total parted"] == 2


def test_tokens_count_for_the_key(server: Metered) -> None:
    usage = server.chat("hello", max_tokens=5).json()["usage"]
    found = server.scrape()
    (name,) = {key.split()[1] for key in found if key.startswith("llamapack_requests_total")}
    assert found[f"llamapack_tokens_total {name} prompt"] == usage["prompt_tokens"]
    assert found[f"llamapack_tokens_total {name} generated"] == usage["completion_tokens"]
    assert "secret" not in name


def test_counters_move_while_a_stream_runs(server: Metered) -> None:
    name = "vllm:generation_tokens_total"
    server.pair.gate.allow(2)
    body = {"prompt": "abc", "stream": True, "n_predict": 20}
    with server.client.stream("POST", "/completion", json=body) as response:
        lines = response.iter_lines()
        assert json.loads(next(lines).removeprefix("data: "))["stop"] is False
        assert wait_for(lambda: server.scrape()[name] == 2)
        first = server.scrape()
        server.pair.gate.allow(None)
        list(lines)
    last = server.scrape()
    assert last[name] == 20
    assert first["vllm:num_requests_running"] == 1
    assert first["llamapack_slots decode"] == 1
    assert last["vllm:num_requests_running"] == 0


def test_refusals_and_departures_are_told_apart(server: Metered) -> None:
    server.client.post("/completion", json={"prompt": 5})
    server.client.post("/completion", json={"prompt": "x" * 600})
    server.client.post("/completion", json={}, headers={"Authorization": "Bearer other"})
    server.pair.gate.allow(2)
    with asking(str(server.client.base_url), "/completion", {"prompt": "abc"}, HEADERS):
        assert wait_for(lambda: server.pair.client.streams)
    server.pair.gate.allow(None)
    assert wait_for(lambda: server.scrape()["vllm:request_success_total abort"] == 1)
    assert wait_for(lambda: server.scrape().get("llamapack_http_responses_total 499"))
    found = server.scrape()
    assert found["llamapack_requests_rejected_total invalid_request"] == 1
    assert found["llamapack_requests_rejected_total exceed_context_size"] == 1
    assert found["llamapack_requests_rejected_total authentication"] == 1
    assert found["llamapack_http_responses_total 401"] == 1
    assert found["llamapack_http_responses_total 499"] == 1


def test_two_scrapers_see_the_same(server: Metered) -> None:
    server.chat("hello", max_tokens=5)
    assert wait_for(lambda: server.scrape()["vllm:num_requests_running"] == 0)
    scraped = {k: v for k, v in server.scrape().items() if k.startswith(("vllm:", "llamapack_s"))}
    ours = {
        k: v for k, v in scraped.items() if not k.startswith("vllm:lora_requests_info")
    }  # a time
    time.sleep(0.01)
    again = server.scrape()
    assert {name: again[name] for name in ours} == ours
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    page = server.client.get("/metrics", headers=accept)
    assert page.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert page.text.endswith("# EOF\n")
    assert '# {request_id="' in page.text
