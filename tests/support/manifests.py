"""The manifests of deploy/kubernetes, as kustomize lists them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

yaml = pytest.importorskip("yaml")

KUBERNETES = ROOT / "deploy" / "kubernetes"
COMPONENTS = ("gateway", "keda", "rpc")
VERSION = "1.32"
KNOWN = ("v1", "apps/v1", "policy/v1", "autoscaling/v2", "rbac.authorization.k8s.io/v1")


def manifests() -> list[dict[str, Any]]:
    """Everything that kubectl would apply, including the components."""
    folders = (KUBERNETES, *(KUBERNETES / name for name in COMPONENTS))
    return [manifest for folder in folders for manifest in resources(folder)]


def resources(folder: Path) -> Iterator[dict[str, Any]]:
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        yield from documents(folder / name)


def documents(path: Path) -> list[dict[str, Any]]:
    """The manifests of a file."""
    return list(yaml.safe_load_all(path.read_text()))


def patch_of(component: str) -> dict[str, Any]:
    """What a component changes in the Deployment."""
    (patch,) = documents(KUBERNETES / component / "replica.yaml")
    assert (patch["kind"], patch["metadata"]["name"]) == ("Deployment", "llamapack")
    spec: dict[str, Any] = patch["spec"]
    return spec


def environment(spec: dict[str, Any]) -> dict[str, str]:
    """The variables of the server in the spec of a Deployment."""
    (server,) = spec["template"]["spec"]["containers"]
    assert server["name"] == "llamapack"
    return {one["name"]: one["value"] for one in server["env"]}
