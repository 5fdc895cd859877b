"""A locust user whose requests are streams; tokens are reported as they arrive.

Locust has its own entry for each POST, which ends with the headers of the answer. For each name
there are three more entries: `TTFT` (time to first token), `ITL` (gap between tokens) and `ANSWER`
(the whole answer, a failure if anything is missing). Refusals by 429 are `REFUSED` and don't count
as failures.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from locust import HttpUser

from loadtests.harness.received import Reception
from loadtests.harness.scenario import Record, Request

TOO_MANY = 429


class StreamingUser(HttpUser):  # type: ignore[misc]  # locust's types are not followed
    """Sends streamed requests, and reports each outcome to locust."""

    abstract = True

    def send(
        self,
        request: Request,
        name: str,
        check: Callable[[Record], str] = lambda record: "",
        headers: Mapping[str, str] | None = None,
    ) -> Record:
        """Send a request; `check` returns what is wrong with a complete answer.

        After a refusal, the user waits for as long as the server says.
        """
        reception = Reception(request, time.perf_counter())
        refused = 0.0
        try:
            with (
                self.client.post(
                    request.path,
                    data=request.payload,
                    headers={"Content-Type": "application/json", **(headers or {})},
                    stream=True,
                    name=f"{request.path} ({name})",
                    catch_response=True,
                ) as response,
                contextlib.closing(response),
            ):
                if response.status_code == TOO_MANY:
                    response.success()
                    refused = float(response.headers.get("Retry-After", 1))
                else:
                    self._receive(response, reception, name)
        except (OSError, msgspec.DecodeError) as error:
            reception.record.error = f"{type(error).__name__}: {error}"
        record = reception.end(time.perf_counter())
        if refused:
            record.error = "refused"
            self._fire("REFUSED", name, time.perf_counter() - record.started)
            time.sleep(refused)  # locust's version of sleep switches to other users
            return record
        record.error = record.error or check(record)
        error_ = RuntimeError(record.error) if record.error else None
        self._fire("ANSWER", name, record.finished - record.started, record.predicted, error_)
        return record

    def _receive(self, response: Any, reception: Reception, name: str) -> None:
        """Read the stream, and report each token as it comes."""
        if response.status_code != 200:
            reception.record.error = f"HTTP {response.status_code}: {response.text[:500]}"
            return
        arrivals, told = reception.record.arrivals, 0
        for data in response.iter_content(chunk_size=None):
            reception.take(data, time.perf_counter())
            for index in range(told, len(arrivals)):
                before = arrivals[index - 1] if index else reception.record.started
                self._fire("ITL" if index else "TTFT", name, arrivals[index] - before)
            told = len(arrivals)

    def _fire(
        self,
        kind: str,
        name: str,
        seconds: float,
        tokens: int = 0,
        error: Exception | None = None,
    ) -> None:
        """Add an entry to locust's statistics; the length column holds the number of tokens."""
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=1e3 * seconds,
            response_length=tokens,
            exception=error,
            context={},
        )
