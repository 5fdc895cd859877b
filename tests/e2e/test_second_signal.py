"""The second SIGTERM: whoever runs, waits or loads is told so with a 503, never with a 500."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.paths import DEMO_TARGET
from tests.support.processes import DEADLINE, Server, Stream, serving, wait_until

LONG = {"n_predict": 100_000, "ignore_eos": True}
BODIES: dict[str, dict[str, Any]] = {
    "/completion": {"prompt": "a", **LONG},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}], **LONG},
    "/v1/messages": {
        "model": "m",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "a"}],
    },
    "/api/generate": {"model": "m", "prompt": "a", "stream": False},
}


@contextmanager
def asking(server: Server, bodies: dict[str, dict[str, Any]]) -> Iterator[list[Future[Any]]]:
    """Requests that are under way, each in a thread."""

    def post(path: str, body: dict[str, Any]) -> httpx.Response:
        return client.post(path, json=body)

    # One client: to make one loads certificates, so that some would ask when the server has ended.
    with (
        httpx.Client(base_url=server.url, timeout=DEADLINE) as client,
        ThreadPoolExecutor(len(bodies)) as pool,
    ):
        yield [pool.submit(post, path, body) for path, body in bodies.items()]


def stop_twice(server: Server) -> None:
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in server.text)
    server.process.send_signal(signal.SIGTERM)


def check_refused(answers: list[Future[Any]]) -> None:
    for answer in answers:
        found = answer.result(DEADLINE)
        assert found.status_code == 503, found.text
        assert "stopping" in found.text


def are_waiting(server: Server, count: int) -> bool:
    page = httpx.get(f"{server.url}/metrics", timeout=DEADLINE).text
    lines = [one for one in page.splitlines() if one.startswith("vllm:num_requests_waiting")]
    return float(lines[0].split()[-1]) == count


def test_streams_and_those_who_wait_for_a_slot() -> None:
    # Shifts make the stream's answer endless.
    with serving("-np", "1", "--context-shift", "--metrics") as server:
        stream = Stream(server, "a", **LONG)
        wait_until(lambda: stream.num_events > 3)
        with asking(server, BODIES) as answers:
            wait_until(lambda: are_waiting(server, len(BODIES)))
            stop_twice(server)
            check_refused(answers)
        stream.join()
        assert stream.error is not None
        assert stream.error["code"] == 503
        assert server.process.wait(DEADLINE) == 0
        assert "Traceback" not in server.text


@pytest.mark.parametrize("is_frozen", [True, False])
def test_those_who_wait_for_a_model(tmp_path: Path, is_frozen: bool) -> None:
    """Its engine hangs, or it loads as it should."""
    preset = tmp_path / "models.ini"
    preset.write_text(f"version = 1\n[m]\nmodel = {DEMO_TARGET}\n")
    bodies = {path: {**body, "model": "m"} for path, body in BODIES.items()}
    with serving("--models-preset", str(preset), has_one_model=False) as server:
        with asking(server, bodies) as answers:
            wait_until(lambda: server.engine)
            engine = server.engine
            assert engine is not None
            if is_frozen:
                engine.suspend()
            stop_twice(server)
            check_refused(answers)
        assert server.process.wait(DEADLINE) == 0
        assert "Traceback" not in server.text
        assert "never awaited" not in server.text
        psutil.wait_procs([engine], timeout=DEADLINE)
        assert not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE
