"""Rules, alerts and the dashboard, checked without a server."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.observability.engine_snapshot import EngineSnapshot
from server.observability.exposition import render_metrics
from server.observability.gpus import Gpu
from server.observability.metrics import ServerMetrics
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULE_FILES = [PROMETHEUS / "llamapack.rules.yml", PROMETHEUS / "llamapack.alerts.yml"]
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)


def load(path: Path) -> ModuleType:
    """Load a script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = load(DEPLOY / "check_observability.py")


def exposed() -> set[str]:
    """The names of all metrics that a server exposes, and that Prometheus derives from them."""
    metrics = ServerMetrics("m")
    metrics.engine_pid = os.getpid
    metrics.use("key")
    metrics.observe_status(200)
    gpu = Gpu(0, "name", "GPU-0", memory_used=1, memory_total=2, utilization=0.5)
    text = render_metrics(metrics, EngineSnapshot(heartbeat_age=1.0, gpus=(gpu,)))[0].decode()
    names = {"up"}
    for family in text_string_to_metric_families(text):
        names.update(sample.name for sample in family.samples)
    rules = RULE_FILES[0].read_text()
    return names | set(re.findall(r"record: (\S+)", rules))


def promtool(*arguments: str | Path) -> str:
    result = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@needs_promtool
def test_the_configuration_and_its_rules_are_valid() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


@needs_promtool
def test_rules_do_what_their_tests_say() -> None:
    promtool("test", "rules", PROMETHEUS / "llamapack.tests.yml")


def test_every_alert_has_a_test() -> None:
    alerts = re.findall(r"alert: (\w+)", RULE_FILES[1].read_text())
    tests = (PROMETHEUS / "llamapack.tests.yml").read_text()
    untested = [name for name in alerts if f"alertname: {name}\n        exp_alerts" not in tests]
    assert alerts
    assert untested == []


def test_rules_ask_for_what_exists() -> None:
    blocks = re.findall(
        r"expr: (?:>-\n)?(.*?)(?=\n *(?:- |for:|labels:|$))",
        "".join(path.read_text() for path in RULE_FILES),
        re.DOTALL,
    )
    asked = {name for block in blocks for name in check.metrics_of(block)}
    assert len(asked) > 20
    assert asked - exposed() == set()


def test_panels_ask_for_what_exists() -> None:
    asked = {name for _, expr in check.panel_expressions() for name in check.metrics_of(expr)}
    assert len(asked) > 30
    assert asked - exposed() == set()


def test_the_dashboard_is_what_its_script_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grafana_foundation_sdk")
    monkeypatch.setattr(sys, "path", [*sys.path, str(DEPLOY / "grafana")])
    built = load(DEPLOY / "grafana" / "make_dashboard.py").build()
    assert json.loads(built) == json.loads((DEPLOY / "grafana" / "llamapack.json").read_text())
