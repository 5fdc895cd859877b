"""The ready replicas of a Kubernetes namespace, as a pod inside it sees them."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from loadtests.routing.replicas import Replica

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Metadata(msgspec.Struct, rename="camel"):
    """A pod's names, of which `uid` never comes again, and whether it is about to end."""

    name: str
    namespace: str
    uid: str
    deletion_timestamp: str | None = None


class Condition(msgspec.Struct):
    """One thing that is so, or not."""

    type: str
    status: str


class Status(msgspec.Struct):
    """Where a pod is, and how it is."""

    address: str = msgspec.field(name="podIP", default="")
    conditions: list[Condition] = []


class Pod(msgspec.Struct):
    """The part of a pod that a router needs."""

    metadata: Metadata
    status: Status

    @property
    def is_ready(self) -> bool:
        """Whether it may get requests."""
        ready = Condition("Ready", "True") in self.status.conditions
        return ready and self.metadata.deletion_timestamp is None


class PodList(msgspec.Struct):
    """The answer of the API server."""

    items: list[Pod]


@dataclass(frozen=True)
class Ports:
    """Where a replica answers, tells events and repeats them."""

    http: int
    events: int
    replay: int


def read_pods(answer: bytes) -> list[Pod]:
    """The pods in an answer that have an address. Raises `msgspec.MsgspecError`."""
    pods = msgspec.json.decode(answer, type=PodList).items
    return [pod for pod in pods if pod.status.address]


def ready_replicas(pods: Sequence[Pod], ports: Ports) -> Iterator[Replica]:
    """The replicas that may get requests: not those that load or are about to end."""
    for pod in pods:
        if pod.is_ready:
            host = pod.status.address
            yield Replica(
                pod.metadata.uid,
                f"http://{host}:{ports.http}",
                f"tcp://{host}:{ports.events}",
                f"tcp://{host}:{ports.replay}",
            )


def scrape_targets(pods: Sequence[Pod], ports: Ports) -> list[dict[str, Any]]:
    """All pods for Prometheus' discovery by HTTP, labelled as Prometheus Operator does it."""
    return [
        {
            "targets": [f"{pod.status.address}:{ports.http}"],
            "labels": {"namespace": pod.metadata.namespace, "pod": pod.metadata.name},
        }
        for pod in pods
    ]


class Pods:
    """Asks the API server with the pod's own account."""

    def __init__(self, selector: str) -> None:
        namespace = (ACCOUNT / "namespace").read_text()
        host, port = (os.environ[f"KUBERNETES_SERVICE_{word}"] for word in ("HOST", "PORT"))
        self._url = f"https://{host}:{port}/api/v1/namespaces/{namespace}/pods"
        self._parameters = {"labelSelector": selector}
        trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
        self._client = httpx.AsyncClient(verify=trusted)

    async def all(self) -> list[Pod]:
        """Those with an address. Raises `httpx.HTTPError`."""
        # The token is replaced from time to time.
        headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"}
        response = await self._client.get(self._url, params=self._parameters, headers=headers)
        response.raise_for_status()
        return read_pods(response.content)
