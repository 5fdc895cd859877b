"""Renders the page that Prometheus reads, as text or as OpenMetrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, exposition
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from server.observability.engine_snapshot import EngineSnapshot
from server.observability.metric_families import metric_families
from server.observability.metrics import ServerMetrics

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def render_metrics(
    metrics: ServerMetrics,
    engine: EngineSnapshot,
    accept: str = "",
    *,
    shows: Callable[[str], bool] = lambda key: True,
) -> tuple[bytes, str]:
    """Body and content type: OpenMetrics, which has exemplars, if `accept` names it, else text.

    `shows` tells whether the counts of the key with a name are shown.

    Nothing is kept between two scrapes, so all scrapers see the same numbers.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(metrics, engine, shows))
    ProcessCollector(registry=registry)
    pid = metrics.engine_pid()
    if pid is not None:
        ProcessCollector("llamapack_engine", lambda: pid, registry=registry)
    if _wants_openmetrics(accept):
        # Other escaping schemes write a metric's colon as an underscore, although it is legal.
        write: Callable[[CollectorRegistry, str], bytes] = openmetrics.generate_latest
        return write(registry, openmetrics.ALLOWUTF8), OPENMETRICS_TYPE
    return exposition.generate_latest(registry), TEXT_TYPE


def _wants_openmetrics(accept: str) -> bool:
    types = (part.partition(";")[0].strip() for part in accept.split(","))
    return "application/openmetrics-text" in types


class _Snapshot(Collector):
    """Hands the counts to prometheus_client."""

    def __init__(
        self, metrics: ServerMetrics, engine: EngineSnapshot, shows: Callable[[str], bool]
    ) -> None:
        self._metrics = metrics
        self._engine = engine
        self._shows = shows

    def collect(self) -> Iterator[Metric]:
        return metric_families(self._metrics, self._engine, self._shows)
