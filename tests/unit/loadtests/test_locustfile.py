"""Locust in a process of its own (it patches the standard library), against a server of ours."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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
