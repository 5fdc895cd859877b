"""Without --parallel, a single request may use the whole context."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.processes import DEADLINE, Server, serving

N_CTX, N_SLOTS = 2048, 4
LONG = [300 + index * 37 % 1000 for index in range(N_CTX * 3 // 4)]


def complete(server: Server, prompt: list[int], chunk: int = 0) -> httpx.Response:
    body: dict[str, Any] = {"prompt": prompt, "n_predict": 8, "ignore_eos": True}
    body |= {"n_cache_reuse": chunk, "return_cache_info": True}
    return httpx.post(f"{server.url}/completion", json=body, timeout=DEADLINE)


@pytest.mark.parametrize(("parallel", "status"), [("-1", 200), ("4", 400)])
def test_a_prompt_may_be_longer_than_a_part_unless_slots_have_parts(
    parallel: str, status: int
) -> None:
    with serving("-c", str(N_CTX), "-np", parallel) as server:
        assert len(httpx.get(f"{server.url}/slots", timeout=DEADLINE).json()) == N_SLOTS
        assert complete(server, LONG).status_code == status


def test_requests_that_do_not_fit_together_are_all_answered() -> None:
    with serving("-c", str(N_CTX), "-np", "-1") as server:
        prompts = [[100 + number, *LONG] for number in range(N_SLOTS)]
        with ThreadPoolExecutor(N_SLOTS) as pool:
            answers = list(pool.map(lambda prompt: complete(server, prompt), prompts))
        assert [answer.status_code for answer in answers] == [200] * N_SLOTS
        assert all(answer.json()["tokens_predicted"] == 8 for answer in answers)


@pytest.mark.parametrize(("chunk", "place"), [(0, "host"), (64, "slot")])
def test_an_idle_conversation_is_set_aside_and_comes_back(chunk: int, place: str) -> None:
    """It stays where chunks may be reused, which only its slot has."""
    with serving("-c", str(N_CTX), "-np", "-1") as server:
        first = [100, *LONG[:500]]
        for prompt in (first, [101, *LONG[:500]]):
            assert complete(server, prompt, chunk).json()["timings"]["cache_n"] == 0
        timings = complete(server, [*first, 102], chunk).json()["timings"]
        assert timings["cache_n"] == len(first)
        assert timings["cache"]["from"] == place
