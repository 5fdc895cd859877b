"""The Helm chart: with its own values it is what kustomize makes of the manifests.

Helm is the `helm` on PATH, or the library in the environment that LLAMAPACK_HELM names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config import load_settings
from tests.support import manifests
from tests.support.paths import ROOT

yaml = pytest.importorskip("yaml")

CHART = ROOT / "deploy" / "helm" / "llamapack"
LIBRARY = Path(os.environ.get("LLAMAPACK_HELM", "missing")) / "bin" / "python"
HELM = shutil.which("helm")
KEYS = {"toml": '[keys.app]\nkey = "secret"\n', "metricsKey": "other"}

PROGRAM = """
import json, sys
from helm_python import Chart
chart, values, name, namespace = sys.argv[1:]
with Chart.load(chart) as loaded:
    for path, text in loaded.render(json.loads(values), name=name, namespace=namespace).items():
        if path.endswith((".yaml", ".yml")):
            print("---")
            print(text)
"""

needs_helm = pytest.mark.skipif(
    HELM is None and not LIBRARY.exists(), reason="no Helm on PATH, nor in LLAMAPACK_HELM"
)


def rendering(
    values: dict[str, Any], name: str = "llamapack", namespace: str = "llamapack"
) -> subprocess.CompletedProcess[str]:
    """`helm template`, or the same by Helm's library."""
    if HELM is not None:
        command = [HELM, "template", name, str(CHART), "--namespace", namespace, "--values", "-"]
    else:
        command = [str(LIBRARY), "-c", PROGRAM, str(CHART), json.dumps(values), name, namespace]
    return subprocess.run(
        command, input=json.dumps(values), capture_output=True, text=True, timeout=60, check=False
    )


def rendered(name: str = "llamapack", **values: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """The manifests by kind and name."""
    done = rendering({"keys": KEYS, **values}, name)
    assert done.returncode == 0, done.stderr
    found = [one for one in yaml.safe_load_all(done.stdout) if one]
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in found}
    assert len(by_name) == len(found)
    return by_name


def base() -> Iterator[dict[str, Any]]:
    """What kustomize applies without components, but the namespace, which Helm makes."""
    for manifest in manifests.resources(manifests.KUBERNETES):
        if manifest["kind"] != "Namespace":
            yield manifest


def server(deployment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


def variables(deployment: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in server(deployment)["env"]}


def test_the_versions_are_those_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    kustomization = yaml.safe_load((manifests.KUBERNETES / "kustomization.yaml").read_text())
    assert kustomization["images"][0]["newTag"] == version


def test_the_manifests_are_a_link_to_the_one_place() -> None:
    assert (CHART / "base").is_symlink()
    assert (CHART / "base").resolve() == manifests.KUBERNETES


@needs_helm
def test_with_its_own_values_it_is_the_base() -> None:
    chart = rendered()
    expected = {(one["kind"], one["metadata"]["name"]): one for one in base()}
    tag = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    spec = expected["Deployment", "llamapack"]["spec"]["template"]["spec"]
    for container in (*spec["initContainers"], *spec["containers"]):
        container["image"] = f"llamapack:{tag}"
    secret = expected["Secret", "llamapack-keys"]["stringData"]
    secret.update({"keys.toml": KEYS["toml"], "metrics-key": KEYS["metricsKey"]})
    assert chart == expected


@needs_helm
@pytest.mark.parametrize("kind", ["hpa", "keda", "zero", "none"])
@pytest.mark.parametrize("component", ["", "gateway", "rpc"])
def test_whatever_is_chosen_has_valid_schemas(kind: str, component: str) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    values: dict[str, Any] = {"autoscaling": {"kind": kind}, "gpus": 1}
    if component:
        values[component] = True
    chart = rendered("other", **values)
    for (_, name), manifest in chart.items():
        assert name.startswith("other")
        assert manifest["metadata"]["namespace"] == "llamapack"
        if manifest["apiVersion"] in manifests.KNOWN:
            validate.validate(manifest, manifests.VERSION, strict=True)
    text = yaml.safe_dump([m for m in chart.values() if m["kind"] != "ConfigMap"])
    names = ("name: llamapack", "service: llamapack", "//llamapack", "claimName: llamapack")
    assert not any(f"{name}\n" in text or f"{name}-" in text for name in names)


@needs_helm
@pytest.mark.parametrize("component", ["gateway", "rpc"])
def test_a_component_patches_as_kustomize_does(component: str) -> None:
    values: dict[str, Any] = {component: True}
    deployment = rendered(**values)["Deployment", "llamapack"]
    patch = manifests.patch_of(component)
    added = manifests.environment(patch)
    assert added.items() <= variables(deployment).items()
    assert len(variables(deployment)) == len(server(deployment)["env"])
    labels = patch["template"].get("metadata", {}).get("labels", {})
    assert labels.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    for port in patch["template"]["spec"]["containers"][0].get("ports", ()):
        assert port in server(deployment)["ports"]
    if component == "rpc":
        assert deployment["spec"]["replicas"] == patch["replicas"]
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}


@needs_helm
def test_workers_have_the_names_that_the_replica_asks_for() -> None:
    chart = rendered("big", rpc=True)
    workers = chart["StatefulSet", "big-rpc"]
    expected = tuple(f"big-rpc-{number}.big-rpc:50052" for number in range(2))
    assert load_settings([], {"LLAMA_ARG_RPC": ",".join(expected)}).rpc == expected
    assert variables(chart["Deployment", "big"])["LLAMA_ARG_RPC"] == ",".join(expected)
    assert workers["spec"]["serviceName"] == "big-rpc"
    assert not any(kind == "HorizontalPodAutoscaler" for kind, _ in chart)
    policy = chart["NetworkPolicy", "big-rpc"]["spec"]
    assert policy["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "big-rpc"}


@needs_helm
def test_settings_come_on_top_and_the_grace_period_follows() -> None:
    chart = rendered(
        settings={"LLAMA_ARG_HF_REPO": "u/r:Q4_K_M", "LLAMAPACK_SHUTDOWN_TIMEOUT": "300"}
    )
    data = chart["ConfigMap", "llamapack-settings"]["data"]
    assert data["LLAMA_ARG_HF_REPO"] == "u/r:Q4_K_M"
    assert data["LLAMA_ARG_N_PARALLEL"] == "4"
    pod = chart["Deployment", "llamapack"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 320


@needs_helm
def test_gpus_and_resources_are_the_servers() -> None:
    chart = rendered(gpus=2, resources={"requests": {"memory": "20Gi"}})
    resources = server(chart["Deployment", "llamapack"])["resources"]
    assert resources["limits"] == {"memory": "4Gi", "nvidia.com/gpu": 2}
    assert resources["requests"] == {"cpu": "1", "memory": "20Gi"}


@needs_helm
def test_what_is_there_already_is_used() -> None:
    chart = rendered(keys={"existingSecret": "mine"}, models={"existingClaim": "disk"})
    assert not any(kind in ("Secret", "PersistentVolumeClaim") for kind, _ in chart)
    volumes = chart["Deployment", "llamapack"]["spec"]["template"]["spec"]["volumes"]
    by_name = {volume["name"]: volume for volume in volumes}
    assert by_name["keys"]["secret"]["secretName"] == "mine"
    assert by_name["models"]["persistentVolumeClaim"]["claimName"] == "disk"
    (endpoint,) = chart["ServiceMonitor", "llamapack"]["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"]["name"] == "mine"


@needs_helm
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "keys.toml and keys.metricsKey, or keys.existingSecret, must be given"),
        ({"keys": {"toml": "x"}}, "keys.metricsKey"),
        ({"keys": KEYS, "autoscaling": {"kind": "vpa"}}, "must be hpa, keda, zero or none"),
    ],
)
def test_what_is_missing_or_wrong_is_named(values: dict[str, Any], message: str) -> None:
    done = rendering(values)
    assert done.returncode != 0
    assert message in done.stderr
