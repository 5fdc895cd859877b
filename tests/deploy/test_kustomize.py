"""What kustomize makes of the manifests, with each component as a user takes it in.

Kustomize is the `kustomize` on PATH, or the one inside `kubectl`. GitHub's machines have both.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from config import load_settings
from tests.support.manifests import KNOWN, KUBERNETES, VERSION, environment, patch_of
from tests.support.paths import ROOT

yaml = pytest.importorskip("yaml")

COMMANDS = (("kustomize", "build"), ("kubectl", "kustomize"))
BUILD = next((command for command in COMMANDS if shutil.which(command[0])), None)

pytestmark = pytest.mark.skipif(BUILD is None, reason="neither kustomize nor kubectl on PATH")


def build(folder: Path) -> list[dict[str, Any]]:
    """What kustomize makes of a folder."""
    assert BUILD is not None
    done = subprocess.run(
        [*BUILD, str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def built(folder: Path, component: str = "") -> list[dict[str, Any]]:
    """The manifests after the edit that the comments in the kustomization ask for."""
    copy = folder / "kubernetes"
    shutil.copytree(KUBERNETES, copy)
    file = copy / "kustomization.yaml"
    text = file.read_text()
    if component:
        text = text.replace("# components:", "components:")
        text = text.replace(f"# - {component} ", f"- {component} ")
    if component == "keda":
        lines = text.splitlines(keepends=True)
        text = "".join(line for line in lines if not line.startswith("  - autoscaling.yaml"))
    file.write_text(text)
    return build(copy)


def deployment(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [
        one
        for one in manifests
        if (one["kind"], one["metadata"]["name"]) == ("Deployment", "llamapack")
    ]
    spec: dict[str, Any] = found["spec"]
    return spec


@pytest.mark.parametrize("component", ["", "gateway", "keda", "rpc"])
def test_the_output_has_valid_schemas(component: str, tmp_path: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    for manifest in built(tmp_path, component):
        if manifest["apiVersion"] in KNOWN:
            validate.validate(manifest, VERSION, strict=True)


@pytest.mark.parametrize("component", ["gateway", "rpc"])
def test_a_component_changes_the_deployment(component: str, tmp_path: Path) -> None:
    spec = deployment(built(tmp_path, component))
    added = environment(patch_of(component))
    assert added.items() <= environment(spec).items()
    assert "LLAMAPACK_API_KEYS_TOML" in environment(spec)
    if component == "rpc":
        assert spec["strategy"] == {"type": "Recreate"}
        assert spec["replicas"] == 1


def test_behind_the_picker_replicas_ask_for_no_keys(tmp_path: Path) -> None:
    """The picker has none to send."""
    spec = deployment(built(tmp_path, "gateway"))
    assert load_settings([], environment(spec)).api_keys_toml is None


def test_the_trials_need_nothing_but_kubernetes() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    manifests = build(ROOT / "loadtests" / "kubernetes")
    for manifest in manifests:
        assert manifest["apiVersion"] in (*KNOWN, "networking.k8s.io/v1")
        validate.validate(manifest, VERSION, strict=True)
    names = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    assert {kind for kind, _ in names} >= {"HorizontalPodAutoscaler", "PodDisruptionBudget"}
    assert ("Deployment", "llamapack-picker") not in names
    variables = environment(deployment(manifests))
    assert variables["LLAMAPACK_KV_EVENTS_REPLAY_ENDPOINT"] == "tcp://*:5558"
    load_settings([], variables)


@pytest.mark.parametrize(("component", "kinds"), [("keda", {"ScaledObject"}), ("rpc", set())])
def test_there_is_one_autoscaler_at_most(component: str, kinds: set[str], tmp_path: Path) -> None:
    found = {one["kind"] for one in built(tmp_path, component)}
    assert found & {"ScaledObject", "HorizontalPodAutoscaler"} == kinds
