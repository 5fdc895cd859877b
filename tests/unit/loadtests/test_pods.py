"""What a router and Prometheus read out of Kubernetes' list of pods."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loadtests.routing.pods import Ports, read_pods, ready_replicas, scrape_targets

PORTS = Ports(8080, 5557, 5558)


def pod(name: str, address: str = "10.0.0.1", ready: str = "True", **metadata: Any) -> Any:
    conditions = [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": ready}]
    names = {"name": name, "namespace": "n", "uid": f"uid-{name}", "labels": {"a": "b"}}
    status = {"podIP": address, "conditions": conditions, "phase": "Running"}
    return {"metadata": names | metadata, "status": status, "spec": {}}


def listed(*pods: Any) -> bytes:
    return json.dumps({"kind": "PodList", "metadata": {}, "items": pods}).encode()


def test_a_ready_pod_is_a_replica() -> None:
    (replica,) = ready_replicas(read_pods(listed(pod("a"))), PORTS)
    assert replica.name == "uid-a"
    assert replica.url == "http://10.0.0.1:8080"
    assert (replica.endpoint, replica.replay_endpoint) == (
        *("tcp://10.0.0.1:5557", "tcp://10.0.0.1:5558"),
    )


@pytest.mark.parametrize(
    "other", [pod("b", ready="False"), pod("b", deletionTimestamp="2026-01-01T00:00:00Z")]
)
def test_a_pod_that_loads_or_ends_is_watched_but_gets_nothing(other: Any) -> None:
    pods = read_pods(listed(pod("a"), other))
    assert [one.name for one in ready_replicas(pods, PORTS)] == ["uid-a"]
    targets = scrape_targets(pods, PORTS)
    assert [one["labels"] for one in targets] == [
        {"namespace": "n", "pod": "a"},
        {"namespace": "n", "pod": "b"},
    ]
    assert targets[1]["targets"] == ["10.0.0.1:8080"]


def test_a_pod_without_an_address_is_not_there_yet() -> None:
    waiting = {"metadata": {"name": "c", "namespace": "n", "uid": "c"}, "status": {}}
    assert read_pods(listed(waiting)) == []
