"""deploy/ray on a real Ray: streams, a replica that dies, autoscaling, routing by prefixes.

Skipped without LLAMAPACK_RAY, an environment with `ray[serve]`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.processes import serving
from tests.support.ray_cluster import FOLDER, ChatStream, Cluster, cluster, wait_until

pytestmark = pytest.mark.skipif(
    not (FOLDER / "bin" / "serve").exists(), reason="LLAMAPACK_RAY has no Ray"
)

LOST = "send the request again"

UNLIKE = ("Zebras live in Africa", "My car is old", "Q: what is 2 + 2?", "def main():")
"""Prompts that begin in different ways, so that routing shares them out."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    log = tmp_path_factory.mktemp("ray") / "ray.log"
    with cluster(log, min_replicas=2, max_replicas=2) as running:
        yield running


def chat(url: str, *texts: str, **fields: object) -> httpx.Response:
    roles = ("user", "assistant")
    messages = [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]
    asked = {"messages": messages, "temperature": 0, "max_tokens": 8, **fields}
    return httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=120)


def test_each_replica_has_an_engine_of_its_own(two: Cluster) -> None:
    assert len(two.engines()) == 2


def test_answers_are_those_of_a_server_alone(two: Cluster) -> None:
    question = "What is the capital of France?"
    with serving() as alone:
        expected = chat(alone.url, question).json()["choices"]
    answer = chat(two.url, question)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["choices"] == expected


def test_streams_come_piece_by_piece_and_whole(two: Cluster) -> None:
    endless = ChatStream(two.url, "One two three", max_tokens=1_000_000)
    wait_until(lambda: endless.num_events > 5)
    assert not endless.is_done
    endless.leave()
    stream = ChatStream(two.url, "One two three", max_tokens=200)
    stream.join()
    assert stream.is_whole
    assert stream.num_events > 20


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/nothing", 404),
        ("POST", "/v1/chat/completions", 400),
        ("HEAD", "/", 200),
        ("DELETE", "/v1/models", 405),
    ],
)
def test_other_requests_pass_through(two: Cluster, method: str, path: str, status: int) -> None:
    direct = {"POST": {"content": b"{"}}.get(method, {})
    answer = httpx.request(method, two.url + path, timeout=60, **direct)  # type: ignore[arg-type]
    assert answer.status_code == status
    if method == "GET" and status == 200:
        assert answer.json()


def test_a_client_that_leaves_frees_the_slot(two: Cluster) -> None:
    with httpx.stream(
        "POST",
        f"{two.url}/completion",
        json={"prompt": "Once upon a time", "n_predict": 1500, "ignore_eos": True, "stream": True},
        timeout=60,
    ) as response:
        next(response.iter_lines())

    def is_idle() -> bool:
        pages = [httpx.get(f"{two.url}/slots", timeout=60).json() for _ in range(4)]
        return not any(slot["is_processing"] for page in pages for slot in page)

    wait_until(is_idle)


def test_a_lost_replica_ends_its_streams_with_an_error_and_no_others(two: Cluster) -> None:
    wait_until(lambda: len(two.engines()) == 2)
    streams: list[ChatStream] = []
    try:
        for prompt in UNLIKE:  # one after the other, for routing looks at those before
            streams.append(ChatStream(two.url, prompt, max_tokens=1_000_000))
            wait_until(lambda: streams[-1].num_events >= 3)
        victim = next(engine for engine in two.engines() if computes(engine))
        victim.parents()[1].kill()
        wait_until(lambda: any(stream.error for stream in streams))
        seen = {stream: stream.num_events for stream in streams}
        # The errors come one after the other.
        wait_until(lambda: all(s.error or s.num_events > seen[s] + 20 for s in streams))
        lost = [stream for stream in streams if stream.error]
        assert len(lost) < len(streams)
    finally:
        for stream in streams:  # endless ones would keep the machine busy
            stream.leave()
    for stream in lost:
        stream.join()
        assert stream.error
        assert LOST in stream.error["message"]
    assert not any(stream.failure for stream in streams)
    retried = [ChatStream(two.url, "Again", max_tokens=16) for _ in lost]
    for stream in retried:
        stream.join()
    assert all(stream.is_whole for stream in retried)
    wait_until(lambda: has_ended(victim))  # it doesn't hold its GPU
    wait_until(lambda: len(two.engines()) == 2)


def computes(engine: psutil.Process) -> bool:
    """Whether a server or its engine uses the CPU."""

    def used() -> float:
        family = [engine, *engine.children(recursive=True)]
        return sum(sum(process.cpu_times()[:2]) for process in family)

    before = used()
    time.sleep(1)
    return used() - before > 0.1


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended, if nobody has asked for its status yet, too."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_requests_that_wait_for_a_lost_replica_go_to_another(two: Cluster) -> None:
    """No client notices, as long as it has no answer yet."""
    wait_until(lambda: len(two.engines()) == 2)
    busy = [ChatStream(two.url, prompt, max_tokens=300) for prompt in UNLIKE]
    wait_until(lambda: all(stream.num_events >= 2 for stream in busy))
    waiting = [ChatStream(two.url, f"{number} waits", max_tokens=8) for number in range(6)]
    two.engines()[0].parents()[1].kill()
    for stream in (*busy, *waiting):
        stream.join()
    assert all(stream.is_whole for stream in waiting)


def test_a_queue_brings_a_second_replica(tmp_path: Path) -> None:
    with cluster(tmp_path / "ray.log", max_replicas=2, upscale_seconds=1) as one:
        assert len(one.engines()) == 1
        streams = [ChatStream(one.url, f"Story {n}", max_tokens=1500) for n in range(20)]
        wait_until(lambda: len(one.engines()) == 2, 120)
        for stream in streams:
            stream.join()
        assert all(stream.is_whole for stream in streams)


def cached_share(url: str, conversations: int) -> float:
    """The share of prompt tokens that caches had, over conversations of three turns each."""
    tokens = cached = 0
    talks = [[f"Subject {n}: " + f"fact {n} " * 30] for n in range(conversations)]
    for turn in range(3):
        for talk in talks:
            answer = chat(url, *talk, max_tokens=2).json()
            tokens += answer["usage"]["prompt_tokens"]
            cached += answer["usage"]["prompt_tokens_details"]["cached_tokens"]
            talk += [answer["choices"][0]["message"]["content"] or "-", f"And {turn}?"]
    return cached / tokens


def test_conversations_stay_with_their_replica(two: Cluster, tmp_path: Path) -> None:
    wait_until(lambda: len(two.engines()) == 2)
    by_prefix = cached_share(two.url, 12)
    with cluster(tmp_path / "ray.log", min_replicas=2, max_replicas=2, routing="even") as even:
        assert cached_share(even.url, 12) < by_prefix
    assert by_prefix > 0.5
