"""The questions that autoscalers ask, as the cluster trial makes them of the manifests."""

from __future__ import annotations

import pytest

from tests.support.manifests import KUBERNETES, documents

pytest.importorskip("yaml")

from loadtests.kubernetes.measures import (
    adapter_query,
    keda_manifest,
    keda_measures,
    quantity,
    series_of,
)

(VALUES,) = documents(KUBERNETES / "prometheus-adapter-values.yaml")
(RULE,) = VALUES["rules"]["custom"]


def test_the_adapter_asks_for_the_pods_by_name() -> None:
    query = adapter_query(RULE, "vllm:num_requests_waiting", "space", ["a", "b"])
    assert query == 'sum(vllm:num_requests_waiting{namespace="space",pod=~"a|b"}) by (pod)'


def test_the_adapter_renames_what_the_autoscaler_asks_for() -> None:
    series = ["vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"]
    named = series_of(RULE, series)
    (autoscaler,) = documents(KUBERNETES / "autoscaling.yaml")
    asked = {one["pods"]["metric"]["name"] for one in autoscaler["spec"]["metrics"]}
    assert asked == named.keys()
    assert list(named.values()) == series


@pytest.mark.parametrize(("text", "number"), [("4", 4.0), ("800m", 0.8), ("0", 0.0)])
def test_quantities(text: str, number: float) -> None:
    assert quantity(text) == number


def test_keda_wants_a_replica_for_each_target() -> None:
    waiting, usage = keda_measures(keda_manifest())
    assert waiting.query == 'sum(vllm:num_requests_waiting{namespace="llamapack"})'
    assert [waiting.wanted(total) for total in (0, 1, 4, 5, 28)] == [0, 1, 1, 2, 7]
    assert [usage.wanted(total) for total in (0, 0.8, 1.7)] == [0, 1, 3]
