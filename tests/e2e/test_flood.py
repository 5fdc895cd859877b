"""More requests than the server takes: accepted ones are served, others refused at once."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.processes import DEADLINE, Server, Stream, serving, wait_until

SLOTS, QUEUE = 4, 6
LONG = {"n_predict": 300, "ignore_eos": True}


@pytest.fixture
def server() -> Iterator[Server]:
    """A server with four busy slots and a stopped engine, so that nothing ends during the test."""
    with serving("--max-queue", str(QUEUE), "--api-key", "heavy,light") as server:
        running = [Stream(server, f"Story {i}", key="heavy", **LONG) for i in range(SLOTS)]
        wait_until(lambda: all(stream.num_events for stream in running))
        engine = server.engine
        assert engine is not None
        engine.suspend()
        yield server


def post(server: Server, key: str) -> httpx.Response:
    body = {"prompt": "One more", "n_predict": 4}
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{server.url}/completion", json=body, headers=headers, timeout=DEADLINE)


def admitted(*streams: Stream) -> None:
    wait_until(lambda: all(stream.status for stream in streams))
    assert {stream.status for stream in streams} == {200}


def test_a_flood_is_bounded_and_leaves_another_key_its_place(server: Server) -> None:
    queued = [Stream(server, f"Tale {i}", key="heavy", **LONG) for i in range(QUEUE)]
    admitted(*queued)
    for refusal in [post(server, "heavy") for _ in range(20)]:
        assert refusal.status_code == 429
        assert refusal.json()["error"]["type"] == "rate_limit_error"
        assert int(refusal.headers["Retry-After"]) >= 1
    # A Service that sent nobody here would keep clients from this answer, and the light key out.
    assert httpx.get(f"{server.url}/readyz", timeout=DEADLINE).status_code == 200
    light = Stream(server, "A word", key="light", n_predict=4, ignore_eos=True)
    admitted(light)
    # the light key has one place beyond the queue, not two
    assert post(server, "light").status_code == 429
    assert server.engine is not None
    server.engine.resume()
    assert light.join()
    assert all(stream.join() for stream in queued)
    assert all(stream.is_whole for stream in (light, *queued))
    assert light.ended < min(stream.ended for stream in queued)
