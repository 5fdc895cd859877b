"""Kubernetes, compose and the image: schemas, and numbers that must match each other."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config import load_settings
from server.access.key_ring import KeyRing, read_keys
from server.engine.supervisor import STOP_SECONDS
from server.http.server import STREAM_END_SECONDS
from tests.support.paths import ROOT

yaml = pytest.importorskip("yaml")

KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSION = "1.32"
KNOWN = ("v1", "apps/v1", "policy/v1", "autoscaling/v2", "rbac.authorization.k8s.io/v1")


def manifests() -> list[dict[str, Any]]:
    """Everything that kubectl would apply, including the gateway."""
    return [*_resources(KUBERNETES), *_resources(KUBERNETES / "gateway")]


def _resources(folder: Path) -> Iterator[dict[str, Any]]:
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        yield from yaml.safe_load_all((folder / name).read_text())


def one(kind: str, name: str = "llamapack") -> dict[str, Any]:
    found = [m for m in manifests() if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1
    return found[0]


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = one("Deployment")["spec"]["template"]["spec"]
    return spec


def settings() -> dict[str, str]:
    data: dict[str, str] = one("ConfigMap", "llamapack-settings")["data"]
    return data


def test_every_file_is_in_the_kustomization() -> None:
    for folder in (KUBERNETES, KUBERNETES / "gateway"):
        listed = set(yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"])
        others = {"kustomization.yaml", "prometheus-adapter-values.yaml"}
        assert {path.name for path in folder.glob("*.yaml")} - others == listed


def test_manifests_have_valid_schemas() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    checked = [m for m in manifests() if m["apiVersion"] in KNOWN]
    assert len(checked) > 10
    for manifest in checked:
        validate.validate(manifest, VERSION, strict=True)


def test_all_is_in_one_namespace() -> None:
    spaces = {m["metadata"].get("namespace") for m in manifests() if m["kind"] != "Namespace"}
    assert spaces == {"llamapack"}


def test_the_grace_period_covers_pause_drain_and_last_words() -> None:
    pause = int(settings()["LLAMAPACK_SHUTDOWN_DELAY"])
    drain = int(settings()["LLAMAPACK_SHUTDOWN_TIMEOUT"])
    needed = pause + drain + STREAM_END_SECONDS + STOP_SECONDS
    assert pod()["terminationGracePeriodSeconds"] >= needed


def test_compose_waits_as_long() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    service = compose["services"]["llamapack"]
    drain = int(service["environment"]["LLAMAPACK_SHUTDOWN_TIMEOUT"])
    grace = int(service["stop_grace_period"].removesuffix("s"))
    assert grace >= drain + STREAM_END_SECONDS + STOP_SECONDS
    load_settings([], service["environment"])


def test_the_pods_settings_are_settings(tmp_path: Path) -> None:
    extra = {v["name"]: v["value"] for v in pod()["containers"][0]["env"]}
    keys = tmp_path / "keys.toml"
    keys.touch()
    extra["LLAMAPACK_API_KEYS_TOML"] = str(keys)
    loaded = load_settings([], {**settings(), **extra})
    assert loaded.hf_repo is None
    assert loaded.offline


def test_the_keys_can_be_read(tmp_path: Path) -> None:
    secret = one("Secret", "llamapack-keys")["stringData"]
    path = tmp_path / "keys.toml"
    path.write_text(secret["keys.toml"])
    keys = KeyRing(read_keys(load_settings(["--api-keys-toml", str(path)], {})), 0.0)
    assert keys.find(secret["metrics-key"].encode()) is not None


def test_the_init_container_finds_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    script = pod()["initContainers"][0]["command"][2]
    code = compile(script, "download", "exec")
    if not (ROOT / "models" / "demo" / "demo-target.gguf").exists():
        pytest.skip("the demo model has not been built")
    exec(code, {"os": os})
    assert capsys.readouterr().out.endswith("demo-target.gguf\n")


def test_services_and_probes_meet_the_pods() -> None:
    labels = one("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        one("Deployment")["spec"]["selector"]["matchLabels"],
        one("Service")["spec"]["selector"],
        one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        one("InferencePool")["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    container = pod()["containers"][0]
    paths = [container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness")]
    assert [*paths, container["livenessProbe"]["httpGet"]["path"]] == [
        *("/health", "/readyz", "/livez")
    ]


def test_the_autoscaler_asks_for_what_the_adapter_hands_out() -> None:
    metrics = one("HorizontalPodAutoscaler")["spec"]["metrics"]
    asked = {metric["pods"]["metric"]["name"] for metric in metrics}
    values = yaml.safe_load((KUBERNETES / "prometheus-adapter-values.yaml").read_text())
    query = values["rules"]["custom"][0]["seriesQuery"]
    found = re.search(r'"vllm:\((.*?)\)"', query)
    assert found is not None
    assert asked == {f"vllm_{name}" for name in found[1].split("|")}
    assert not any("running" in name for name in asked)


def test_nothing_runs_as_root_or_writes_to_its_image() -> None:
    for container in (*pod()["initContainers"], *pod()["containers"]):
        locked = container["securityContext"]
        assert locked["readOnlyRootFilesystem"]
        assert not locked["allowPrivilegeEscalation"]
    assert pod()["securityContext"]["runAsNonRoot"]
    user = pod()["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}" in (ROOT / "Dockerfile").read_text()


def test_the_image_gets_what_it_copies() -> None:
    kept = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert all((ROOT / path).exists() for path in kept if path != "models/demo")
    copied = re.findall(r"^COPY (?!--from|\. )(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    assert {path for line in copied for path in line.split()} <= set(kept)
    check = re.search(r"CMD (\[.*\])", (ROOT / "Dockerfile").read_text())
    assert check is not None
    compile(json.loads(check[1])[2], "healthcheck", "exec")
