"""A generator that counts what passes through it; every dialect is measured this way."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.generation import Ended, GenerationRequest, Generator, Item, TextDelta
from server.metrics import ServerMetrics


class MeteredGenerator:
    """Wraps a `Generator` and feeds the metrics while answers stream."""

    def __init__(self, inner: Generator, metrics: ServerMetrics) -> None:
        self._inner = inner
        self._metrics = metrics

    @asynccontextmanager
    async def open(self, request: GenerationRequest) -> AsyncIterator[AsyncIterator[Item]]:
        """The same as the inner generator's."""
        # Taken here, because the iterator starts its work only when it is first asked.
        meter = _Meter(self._metrics, time.monotonic())
        async with self._inner.open(request) as items:
            yield _measured(items, meter)


async def _measured(items: AsyncIterator[Item], meter: _Meter) -> AsyncIterator[Item]:
    async for item in items:
        if isinstance(item, TextDelta):
            meter.delta(item)
        elif isinstance(item, Ended):
            meter.end(item)
        yield item


class _Meter:
    """What was counted of one sequence so far."""

    def __init__(self, metrics: ServerMetrics, opened: float) -> None:
        self._metrics = metrics
        self._opened = opened
        self._latest: float | None = None
        self._predicted = 0
        self._predicted_ms = 0.0

    def delta(self, delta: TextDelta) -> None:
        now = time.monotonic()
        timings = delta.timings
        if self._latest is None:
            self._metrics.observe_first_token(now - self._opened, timings)
        gap = None if self._latest is None else now - self._latest
        self._count(timings.predicted_n, timings.predicted_ms, gap)
        self._latest = now

    def end(self, ended: Ended) -> None:
        """Tokens without text of their own, such as the end token, are counted here."""
        now = time.monotonic()
        if self._latest is None:
            self._metrics.observe_first_token(now - self._opened, ended.timings)
        self._count(ended.timings.predicted_n, ended.timings.predicted_ms, None)
        self._metrics.observe_end(ended, now - self._opened)

    def _count(self, predicted: int, predicted_ms: float, gap: float | None) -> None:
        seconds = (predicted_ms - self._predicted_ms) / 1000
        self._metrics.observe_tokens(predicted - self._predicted, seconds, gap)
        self._predicted, self._predicted_ms = predicted, predicted_ms
