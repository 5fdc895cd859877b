"""Counts one answer while it streams; every dialect is measured this way."""

from __future__ import annotations

import time

from protocol.commands import UNLIMITED
from server.errors import ApiError
from server.generation.types import Ended, GenerationRequest, TextDelta, Timings
from server.observability.metrics import ANONYMOUS, ServerMetrics, Source
from server.observability.request_id import current_request_id


class AnswerMetrics:
    """An `AnswerObserver` that feeds the metrics."""

    def __init__(self, metrics: ServerMetrics, request: GenerationRequest) -> None:
        self._metrics = metrics
        self._max_tokens = request.spec.max_tokens
        self._made = time.monotonic()
        self._source = Source(request.spec.tenant or ANONYMOUS, current_request_id.get())
        self._latest: float | None = None
        """When the latest text came."""
        self._predicted = 0
        self._predicted_ms = 0.0
        self._is_open = False

    def opened(self) -> None:
        """Count the request."""
        self._is_open = True
        self._metrics.observe_open(self._source)
        if self._max_tokens != UNLIMITED:
            self._metrics.request_max_tokens.observe(self._max_tokens)

    def delta(self, delta: TextDelta, now: float) -> None:
        """Count the tokens that the text came from."""
        latest = self._latest
        if latest is None:
            self._metrics.observe_first_token(now - self._made, delta.timings, self._source, now)
        self._count(delta.timings, None if latest is None else now - latest, now)
        self._latest = now

    def ended(self, ended: Ended, now: float) -> None:
        """Count the answer, and tokens without text of their own, such as the end token."""
        self._is_open = False
        if self._latest is None:
            self._metrics.observe_first_token(now - self._made, ended.timings, self._source, now)
        self._count(ended.timings, None, now)
        self._metrics.observe_end(ended, now - self._made, self._source)

    def failed(self, error: Exception) -> None:
        """Count a failure, and mark the error: a middleware must not count it as a refusal."""
        self._is_open = False
        if isinstance(error, ApiError):
            error.was_admitted = True
        self._metrics.observe_failure(error)

    def closed(self, error: Exception | None) -> None:
        """Count an answer that was not read to its end."""
        if self._is_open:
            self._metrics.observe_abort()

    def _count(self, timings: Timings, gap: float | None, now: float) -> None:
        count = timings.predicted_n - self._predicted
        seconds = (timings.predicted_ms - self._predicted_ms) / 1000
        self._predicted, self._predicted_ms = timings.predicted_n, timings.predicted_ms
        self._metrics.observe_tokens(count, seconds, gap, self._source, now)
