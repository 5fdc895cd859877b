"""LoRA adapters in a real server: chosen by requests, mixed in a batch, and after a crash."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.lora_files import random_pairs, write_adapter
from tests.support.processes import DEADLINE, ONE_BY_ONE, Server, Stream, serving, wait_until

PROMPT = "The capital of France"
CHOICES: list[list[dict[str, float]]] = [
    [],
    [{"id": 0, "scale": 1.0}],
    [{"id": 1, "scale": 1.0}],
    [{"id": 0, "scale": 0.5}, {"id": 1, "scale": 0.5}],
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("adapters")
    first = write_adapter(folder / "first.gguf", random_pairs(1))
    second = write_adapter(folder / "second.gguf", random_pairs(2))
    adapters = ("--lora", str(first), "--lora-scaled", f"{second}:0.5")
    with serving(*adapters, *ONE_BY_ONE) as server:
        yield server


def answer(server: Server, n_predict: int = 40, **fields: Any) -> str:
    body = {
        "prompt": PROMPT,
        "temperature": 0,
        "n_predict": n_predict,
        "ignore_eos": True,
        **fields,
    }
    response = httpx.post(f"{server.url}/completion", json=body, timeout=DEADLINE)
    assert response.status_code == 200, response.text
    content: str = response.json()["content"]
    return content


def test_requests_with_different_adapters_answer_side_by_side_as_alone(server: Server) -> None:
    alone = [answer(server, lora=choice, cache_prompt=False) for choice in CHOICES]
    assert len(set(alone)) == len(CHOICES)
    with ThreadPoolExecutor(len(CHOICES)) as pool:
        together = list(pool.map(lambda choice: answer(server, lora=choice), CHOICES))
    assert together == alone


def test_scales_for_all_hold_until_they_are_changed(server: Server) -> None:
    adapters = httpx.get(f"{server.url}/lora-adapters", timeout=DEADLINE).json()
    assert [(one["path"], one["scale"]) for one in adapters] == [
        ("first.gguf", 1.0),
        ("second.gguf", 0.5),
    ]
    by_flags = answer(server)
    assert by_flags == answer(server, lora=[{"id": 0, "scale": 1}, {"id": 1, "scale": 0.5}])
    httpx.post(
        f"{server.url}/lora-adapters", json=[{"id": 1, "scale": 1}], timeout=DEADLINE
    ).raise_for_status()
    try:
        assert answer(server) == answer(server, lora=CHOICES[2]) != by_flags
    finally:
        scales = [{"id": one["id"], "scale": one["scale"]} for one in adapters]
        httpx.post(f"{server.url}/lora-adapters", json=scales, timeout=DEADLINE).raise_for_status()


def test_an_answer_goes_on_with_its_adapters_when_the_engine_dies(server: Server) -> None:
    for lora in CHOICES[1:]:
        expected = answer(server, 300, lora=lora)
        stream = Stream(server, PROMPT, n_predict=300, ignore_eos=True, temperature=0, lora=lora)
        wait_until(lambda stream=stream: stream.num_events >= 3)  # type: ignore[misc]
        server.kill_engine()
        assert stream.join() == expected
