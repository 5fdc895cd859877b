"""A generator that counts what passes through it; every dialect is measured this way."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from protocol.commands import UNLIMITED
from server.errors import ApiError
from server.generation.types import Ended, GenerationRequest, Generator, Item, TextDelta
from server.observability.metrics import ANONYMOUS, ServerMetrics, Source
from server.observability.request_id import current_request_id


class MeteredGenerator:
    """Wraps a `Generator` and feeds the metrics while answers stream."""

    def __init__(self, inner: Generator, metrics: ServerMetrics) -> None:
        self._inner = inner
        self._metrics = metrics

    @asynccontextmanager
    async def open(self, request: GenerationRequest) -> AsyncIterator[AsyncIterator[Item]]:
        """The same as the inner generator's."""
        # Taken here, because the iterator starts its work only when it is first asked.
        opened = time.monotonic()
        async with self._inner.open(request) as items:
            meter = _Meter(self._metrics, request, opened)
            try:
                yield _measured(items, meter)
            finally:
                meter.close()


async def _measured(items: AsyncIterator[Item], meter: _Meter) -> AsyncIterator[Item]:
    try:
        async for item in items:
            if isinstance(item, TextDelta):
                meter.delta(item)
            elif isinstance(item, Ended):
                meter.end(item)
            yield item
    except Exception as error:
        meter.fail(error)
        raise


class _Meter:
    """What was counted of one sequence so far."""

    def __init__(self, metrics: ServerMetrics, request: GenerationRequest, opened: float) -> None:
        self._metrics = metrics
        self._opened = opened
        self._source = Source(request.spec.tenant or ANONYMOUS, current_request_id.get())
        self._latest: float | None = None
        self._predicted = 0
        self._predicted_ms = 0.0
        self._is_over = False
        metrics.observe_open(self._source)
        if request.spec.max_tokens != UNLIMITED:
            metrics.request_max_tokens.observe(request.spec.max_tokens)

    def delta(self, delta: TextDelta) -> None:
        now = time.monotonic()
        timings = delta.timings
        if self._latest is None:
            self._metrics.observe_first_token(now - self._opened, timings, self._source)
        gap = None if self._latest is None else now - self._latest
        self._count(timings.predicted_n, timings.predicted_ms, gap)
        self._latest = now

    def end(self, ended: Ended) -> None:
        """Tokens without text of their own, such as the end token, are counted here."""
        self._is_over = True
        now = time.monotonic()
        if self._latest is None:
            self._metrics.observe_first_token(now - self._opened, ended.timings, self._source)
        self._count(ended.timings.predicted_n, ended.timings.predicted_ms, None)
        self._metrics.observe_end(ended, now - self._opened, self._source)

    def fail(self, error: Exception) -> None:
        """An error ended the answer; whoever meets it later must not count it as a refusal."""
        self._is_over = True
        if isinstance(error, ApiError):
            error.was_admitted = True
        self._metrics.observe_failure(error)

    def close(self) -> None:
        """The reader is gone."""
        if not self._is_over:
            self._metrics.observe_abort()

    def _count(self, predicted: int, predicted_ms: float, gap: float | None) -> None:
        seconds = (predicted_ms - self._predicted_ms) / 1000
        self._metrics.observe_tokens(predicted - self._predicted, seconds, gap, self._source)
        self._predicted, self._predicted_ms = predicted, predicted_ms
