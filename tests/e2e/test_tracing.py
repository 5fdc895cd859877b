"""Traces as a collector receives them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.processes import DEADLINE, serving

REQUEST = {"prompt": "One two three", "n_predict": 5, "temperature": 0}


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """The URL of a collector, and the requests that it has received."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces", received
        finally:
            server.shutdown()
            thread.join()


def test_spans_reach_the_collector_at_the_latest_when_the_server_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    with collector() as (url, received):
        with serving("--otlp-traces-endpoint", url) as server:
            httpx.post(
                f"{server.url}/completion", json=REQUEST, timeout=DEADLINE
            ).raise_for_status()
            server.process.terminate()
            assert server.process.wait(DEADLINE) == 0
        (resource,) = {str(r.resource) for r in received[0].resource_spans}
        assert '"llamapack"' in resource
        assert '"deployment.environment.name"' in resource
        spans = [
            span
            for request in received
            for resource_spans in request.resource_spans
            for scope in resource_spans.scope_spans
            for span in scope.spans
        ]
    names = {span.name for span in spans}
    assert {"POST /completion", "queue", "prefill", "decode"} < names


def test_a_collector_that_is_not_there_harms_nobody() -> None:
    with serving("--otlp-traces-endpoint", "http://127.0.0.1:9/v1/traces") as server:
        httpx.post(f"{server.url}/completion", json=REQUEST, timeout=DEADLINE).raise_for_status()
        server.process.terminate()
        assert server.process.wait(DEADLINE) == 0
