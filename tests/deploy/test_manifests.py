"""Kubernetes, compose and the image: schemas, and numbers that must match each other."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from config import load_settings
from server.access.key_ring import KeyRing, read_keys
from server.engine.supervisor import STOP_SECONDS
from server.http.server import STREAM_END_SECONDS
from server.observability.engine_snapshot import EngineSnapshot
from server.observability.exposition import render_metrics
from server.observability.metrics import ServerMetrics
from tests.support.manifests import (
    COMPONENTS,
    KNOWN,
    KUBERNETES,
    VERSION,
    documents,
    environment,
    manifests,
    patch_of,
)
from tests.support.paths import ROOT

yaml = pytest.importorskip("yaml")


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
    others = {"kustomization.yaml", "prometheus-adapter-values.yaml", "from-zero.yaml"}
    for folder in (KUBERNETES, *(KUBERNETES / name for name in COMPONENTS)):
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        patches = {one["path"] for one in kustomization.get("patches", ()) if "path" in one}
        listed = patches | set(kustomization["resources"])
        assert {path.name for path in folder.glob("*.yaml")} - others == listed


def test_the_components_are_offered() -> None:
    text = (KUBERNETES / "kustomization.yaml").read_text()
    offered = text.partition("# components:")[2]
    assert re.findall(r"^# - (\w+)", offered, re.MULTILINE) == list(COMPONENTS)
    folders = {path.name for path in KUBERNETES.iterdir() if path.is_dir()}
    assert folders == set(COMPONENTS)


def test_manifests_have_valid_schemas() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    everything = [*manifests(), *documents(KUBERNETES / "keda" / "from-zero.yaml")]
    checked = [m for m in everything if m["apiVersion"] in KNOWN]
    assert len(checked) > 15
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


@pytest.mark.parametrize(
    ("variable", "value"),
    [("LLAMA_ARG_N_PARALLEL", "many"), ("LLAMA_ARG_MODEL", "/missing.gguf")],
)
def test_the_init_container_says_what_is_wrong_in_one_line(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    script = pod()["initContainers"][0]["command"][2]
    with pytest.raises(SystemExit) as ended:
        exec(compile(script, "download", "exec"), {})
    message = str(ended.value)
    assert message.startswith("llamapack: ")
    assert value in message
    assert "\n" not in message


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


def test_keda_and_the_autoscaler_have_the_same_measures() -> None:
    keda = one("ScaledObject")["spec"]
    autoscaler = one("HorizontalPodAutoscaler")["spec"]
    queries = {trigger["metadata"]["query"]: trigger for trigger in keda["triggers"]}
    for metric in autoscaler["metrics"]:
        name = metric["pods"]["metric"]["name"].replace("vllm_", "vllm:")
        trigger = queries.pop(f'sum({name}{{namespace="llamapack"}})')
        target = metric["pods"]["target"]["averageValue"]
        milli = target.endswith("m")
        assert float(trigger["metadata"]["threshold"]) == float(target.rstrip("m")) / (
            1000 if milli else 1
        )
        assert trigger["metricType"] == "AverageValue"
    assert not queries
    assert keda["minReplicaCount"] == autoscaler["minReplicas"]
    assert keda["maxReplicaCount"] == autoscaler["maxReplicas"]
    behavior = keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior == autoscaler["behavior"]


def test_from_zero_something_holds_the_requests() -> None:
    by_kind = {m["kind"]: m for m in documents(KUBERNETES / "keda" / "from-zero.yaml")}
    scaled, route = by_kind["ScaledObject"]["spec"], by_kind["InterceptorRoute"]
    assert scaled["minReplicaCount"] == 0
    (held,) = [one for one in scaled["triggers"] if one["type"] == "external-push"]
    assert held["metadata"]["interceptorRoute"] == route["metadata"]["name"]
    service = one("Service")
    assert route["spec"]["target"]["service"] == service["metadata"]["name"]
    assert route["spec"]["target"]["port"] == service["spec"]["ports"][0]["port"]
    probe = pod()["containers"][0]["startupProbe"]
    startup = probe["periodSeconds"] * probe["failureThreshold"]
    assert route["spec"]["timeouts"]["readiness"] == f"{startup}s"


def picker() -> dict[str, Any]:
    text = one("ConfigMap", "llamapack-picker")["data"]["plugins.yaml"]
    config: dict[str, Any] = yaml.safe_load(text)
    return config


def plugin(kind: str) -> dict[str, Any]:
    (found,) = [one for one in picker()["plugins"] if one["type"] == kind]
    parameters: dict[str, Any] = found.get("parameters", {})
    return parameters


def test_the_picker_names_what_it_has() -> None:
    config = picker()
    assert config["apiVersion"] == "llm-d.ai/v1alpha1"
    plugins = {one["type"] for one in config["plugins"]}
    (profile,) = config["schedulingProfiles"]
    used = {one["pluginRef"] for one in profile["plugins"]}
    for source in config["dataLayer"]["sources"]:
        used |= {source["pluginRef"], *(one["pluginRef"] for one in source["extractors"])}
    used.add(plugin("prefix-cache-scorer")["prefixMatchInfoProducerName"])
    assert used <= plugins
    # Producers of data are not scheduled.
    assert plugins - used == {"token-producer"}


def test_the_picker_reads_metrics_that_are_there() -> None:
    (engine,) = plugin("core-metrics-extractor")["engineConfigs"]
    replica = patch_of("gateway")["template"]["metadata"]["labels"]
    assert replica == {"llm-d.ai/engine-type": engine["name"]}
    page = render_metrics(ServerMetrics("m"), EngineSnapshot(heartbeat_age=1.0))[0].decode()
    for name, metric in engine.items():
        if name in ("queuedRequestsSpec", "runningRequestsSpec", "kvUsageSpec"):
            assert f"\n# TYPE {metric} gauge" in page


def test_the_pickers_events_are_the_replicas() -> None:
    producer = plugin("precise-prefix-cache-producer")
    variables = environment(patch_of("gateway"))
    port = producer["kvEventsConfig"]["podDiscoveryConfig"]["socketPort"]
    assert variables["LLAMAPACK_KV_EVENTS_ENDPOINT"] == f"tcp://*:{port}"
    size = producer["tokenProcessorConfig"]["blockSizeTokens"]
    assert variables["LLAMAPACK_KV_EVENTS_BLOCK_SIZE"] == str(size)
    assert load_settings([], variables).kv_events_block_size == size
    (server,) = patch_of("gateway")["template"]["spec"]["containers"]
    (listed,) = server["ports"]
    assert listed["containerPort"] == port
    let_in = [
        rule["ports"][0]["port"]
        for rule in one("NetworkPolicy", "llamapack-gateway")["spec"]["ingress"]
    ]
    assert let_in == ["http", listed["name"]]


def test_the_replica_knows_each_worker() -> None:
    workers = one("StatefulSet", "llamapack-rpc")
    name, service = workers["metadata"]["name"], workers["spec"]["serviceName"]
    (container,) = workers["spec"]["template"]["spec"]["containers"]
    port = container["ports"][0]["containerPort"]
    expected = tuple(
        f"{name}-{number}.{service}:{port}" for number in range(workers["spec"]["replicas"])
    )
    variables = environment(patch_of("rpc"))
    assert load_settings([], variables).rpc == expected
    assert patch_of("rpc")["replicas"] == 1
    assert str(port) in container["args"]
    headless = one("Service", service)["spec"]
    assert headless["clusterIP"] == "None"
    assert headless["publishNotReadyAddresses"]


def test_only_the_replica_reaches_a_worker_and_a_worker_nobody() -> None:
    policy = one("NetworkPolicy", "llamapack-rpc")["spec"]
    labels = one("StatefulSet", "llamapack-rpc")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []
    (rule,) = policy["ingress"]
    (source,) = rule["from"]
    replica = one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert source == {"podSelector": {"matchLabels": replica}}
    # The replica's own policy lists where it may go, so the way to workers has to be added.
    (way,) = one("NetworkPolicy", "llamapack-to-rpc")["spec"]["egress"]
    assert way["to"] == [{"podSelector": {"matchLabels": labels}}]


def test_nothing_asks_a_worker_for_its_health() -> None:
    """A worker talks to one client at a time."""
    (container,) = one("StatefulSet", "llamapack-rpc")["spec"]["template"]["spec"]["containers"]
    assert not any("Probe" in name for name in container)


def test_nothing_runs_as_root_or_writes_to_its_image() -> None:
    workers = one("StatefulSet", "llamapack-rpc")["spec"]["template"]["spec"]
    assert workers["securityContext"] == pod()["securityContext"]
    for container in (*pod()["initContainers"], *pod()["containers"], *workers["containers"]):
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
