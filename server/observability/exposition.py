"""Renders the page that Prometheus reads, as text or as OpenMetrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, exposition
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from server.observability.engine_snapshot import EngineSnapshot
from server.observability.metric_families import (
    load_families,
    metric_families,
    server_families,
)
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
    registry.register(_Snapshot(lambda: metric_families(metrics, engine, shows)))
    ProcessCollector(registry=registry)
    pid = metrics.engine_pid()
    if pid is not None:
        ProcessCollector("llamapack_engine", lambda: pid, registry=registry)
    return _page(registry, accept)


@dataclass(frozen=True, slots=True)
class Counted:
    """The counts of a model, or of the server, and how its engine stands."""

    metrics: ServerMetrics
    engine: EngineSnapshot


def render_all(
    server: Counted,
    models: Sequence[Counted],
    accept: str = "",
    *,
    shows: Callable[[str], bool] = lambda key: True,
) -> tuple[bytes, str]:
    """The same for a server with several models, each with its label.

    What concerns none of them has an empty label.
    """

    def families() -> Iterator[Metric]:
        yield from server_families(server.metrics, server.engine)
        for one in models:
            yield from metric_families(one.metrics, one.engine, shows)
            yield from load_families(one.metrics, one.engine)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(lambda: _merged(families())))
    ProcessCollector(registry=registry)
    return _page(registry, accept)


def _page(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    if _wants_openmetrics(accept):
        # Other escaping schemes write a metric's colon as an underscore, although it is legal.
        write: Callable[[CollectorRegistry, str], bytes] = openmetrics.generate_latest
        return write(registry, openmetrics.ALLOWUTF8), OPENMETRICS_TYPE
    return exposition.generate_latest(registry), TEXT_TYPE


def _merged(families: Iterable[Metric]) -> Iterator[Metric]:
    """One family for each name, with the samples of all; of equal samples, the first."""
    merged: dict[str, Metric] = {}
    for family in families:
        known = merged.setdefault(family.name, family)
        if known is not family:
            seen = {_key(sample) for sample in known.samples}
            known.samples += [sample for sample in family.samples if _key(sample) not in seen]
    yield from merged.values()


def _key(sample: Sample) -> tuple[str, tuple[tuple[str, str], ...]]:
    return sample.name, tuple(sorted(sample.labels.items()))


def _wants_openmetrics(accept: str) -> bool:
    types = (part.partition(";")[0].strip() for part in accept.split(","))
    return "application/openmetrics-text" in types


class _Snapshot(Collector):
    """Hands the counts to prometheus_client."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()
