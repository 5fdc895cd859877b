"""What the autoscalers of deploy/kubernetes ask Prometheus, and how many replicas they want then.

The questions are read from the manifests. Prometheus Adapter's are made as the adapter makes them:
it looks for the series of a rule, renames them, and fills the rule's template for the pods.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from loadtests.kubernetes.kubectl import Kubectl

MANIFESTS = Path(__file__).parents[2] / "deploy" / "kubernetes"


@dataclass(frozen=True)
class Measure:
    """One measure of an autoscaler."""

    name: str
    query: str
    target: float
    """Of one replica."""

    def wanted(self, total: float) -> int:
        """How many replicas this total asks for."""
        return math.ceil(total / self.target)


def keda_measures(scaled: dict[str, Any]) -> list[Measure]:
    """The Prometheus triggers of a ScaledObject, as KEDA asks for them."""
    triggers = [one["metadata"] for one in scaled["spec"]["triggers"]]
    return [Measure(one["query"], one["query"], float(one["threshold"])) for one in triggers]


def series_of(rule: dict[str, Any], names: Sequence[str]) -> dict[str, str]:
    """By the adapter's name, the series that a rule renames."""
    matches, pattern = rule["name"]["matches"], rule["name"]["as"].replace("${1}", r"\1")
    return {re.sub(f"^{matches}$", pattern, name): name for name in names}


def adapter_query(rule: dict[str, Any], series: str, namespace: str, pods: Sequence[str]) -> str:
    """The adapter's question for a metric of these pods."""
    overrides = rule["resources"]["overrides"]
    (space,) = [label for label, one in overrides.items() if one["resource"] == "namespace"]
    (pod,) = [label for label, one in overrides.items() if one["resource"] == "pod"]
    matchers = f'{space}="{namespace}",{pod}=~"{"|".join(pods)}"'
    query: str = rule["metricsQuery"]
    for name, value in (("Series", series), ("LabelMatchers", matchers), ("GroupBy", pod)):
        query = query.replace(f"<<.{name}>>", value)
    return query


async def hpa_measures(kubectl: Kubectl) -> list[Measure]:
    """The metrics of the HorizontalPodAutoscaler, as the adapter asks for them now."""
    values = _manifest("prometheus-adapter-values.yaml")
    (rule,) = values["rules"]["custom"]
    found = await kubectl.ask_prometheus("series", **{"match[]": rule["seriesQuery"]})
    series = series_of(rule, sorted({one["__name__"] for one in found}))
    pods = await kubectl.replica_names()
    measures = []
    for metric in _manifest("autoscaling.yaml")["spec"]["metrics"]:
        name = metric["pods"]["metric"]["name"]
        target = quantity(metric["pods"]["target"]["averageValue"])
        query = adapter_query(rule, series[name], kubectl.namespace, pods)
        measures.append(Measure(name, query, target))
    return measures


async def total(kubectl: Kubectl, measure: Measure) -> float:
    """The sum of a question's values. Raises `ValueError` if there is none."""
    result = (await kubectl.ask_prometheus("query", query=measure.query))["result"]
    if not result:
        raise ValueError(f"Prometheus knows nothing of {measure.query}")
    return sum(float(one["value"][1]) for one in result)


def keda_manifest() -> dict[str, Any]:
    """The ScaledObject of deploy/kubernetes."""
    return _manifest("keda/scaling.yaml")


def quantity(text: str) -> float:
    """A quantity of Kubernetes, such as 4 or 800m."""
    return float(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)


def _manifest(name: str) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((MANIFESTS / name).read_text())
    return manifest
