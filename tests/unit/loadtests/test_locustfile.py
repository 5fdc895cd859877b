"""Locust in a separate process (it patches the standard library), against a test server."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

import loadtests

LOCUSTFILE = Path(loadtests.__file__).with_name("locustfile.py")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("locust") is None, reason="locust is an optional extra"
)


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()
        if self.path == "/tokenize":
            self.wfile.write(json.dumps({"tokens": list(range(500))}).encode())
            return
        for token in range(body["n_predict"]):
            self.event(content="a", tokens=[token], stop=False)
        used = {"tokens_predicted": body["n_predict"], "tokens_evaluated": len(body["prompt"])}
        self.event(content="", stop=True, stop_type="limit", **used)

    def event(self, **fields: object) -> None:
        self.wfile.write(b"data: " + json.dumps(fields).encode() + b"\n\n")


@pytest.fixture
def host() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_short_run(host: str) -> None:
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", host]
    command += ["--headless", "-u", "2", "-r", "2", "-t", "5s", "--json", "Plain"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["method"]: row for row in json.loads(done.stdout)}
    answers = rows["ANSWER"]["num_requests"]
    assert answers > 0
    assert rows["ANSWER"]["num_failures"] == 0
    assert rows["TTFT"]["num_requests"] >= answers
    assert rows["ITL"]["num_requests"] >= 63 * answers


TRAFFIC = LOCUSTFILE.with_name("traffic.py")
BURST = LOCUSTFILE.with_name("shapes") / "burst.py"


class ChatHandler(Handler):
    """Refuses the first chat, answers the others, and answers extractions with an object."""

    seen: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(body)
        if len(self.seen) == 1:
            self.send_response(429)
            self.send_header("Retry-After", "1")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        is_json = "response_format" in body
        text = '{"name": "Anna", "age": 5, "city": "Rome"}' if is_json else "It is."
        self.event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}])
        self.event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
        self.event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 3})
        self.wfile.write(b"data: [DONE]\n\n")


def traffic(host: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """A short run of the traffic with the burst shape."""
    files = f"{TRAFFIC},{BURST}"
    command = [sys.executable, "-m", "locust", "-f", files, "--host", host, "--headless"]
    command += ["--peak", "8", "--seconds", "6", "--only-summary", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def chat_host() -> Iterator[str]:
    ChatHandler.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), ChatHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_traffic_that_keeps_its_promises(chat_host: str) -> None:
    done = traffic(chat_host, "--think", "0.2", "--slo-ttft-p95", "60000", "--slo-refused", "99")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "REFUSED" in done.stderr + done.stdout
    lengths = [len(body["messages"]) for body in ChatHandler.seen]
    assert max(lengths) > 2, "no conversation grew"
    assert any("response_format" in body for body in ChatHandler.seen)


def test_a_broken_promise_is_told_by_the_status(chat_host: str) -> None:
    done = traffic(chat_host, "--slo-refused", "0")
    assert done.returncode == 1
    assert "SLO BREACH" in done.stdout
