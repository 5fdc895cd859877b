"""Pulls that are killed, and pulls of several processes: nothing half-made is ever served."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.local_hub import LocalHub, environment, local_hub
from tests.support.paths import DEMO_DRAFT
from tests.support.processes import Server, serving, wait_until
from tests.support.signals import heed_signals

CONTENT = DEMO_DRAFT.read_bytes()
LLAMAPACK = "import sys; from server.cli import main; raise SystemExit(main(sys.argv[1:]))"


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with local_hub() as hub:
        hub.repos["user/repo"] = {"m-Q8_0.gguf": CONTENT}
        yield hub


def start(hub: LocalHub, home: Path, *words: str) -> subprocess.Popen[str]:
    """Start a command as a user whose home is empty."""
    variables = {"NO_PROXY": "127.0.0.1,localhost", **environment(hub, home)}
    dropped = ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME")
    inherited = {name: value for name, value in os.environ.items() if name not in dropped}
    return subprocess.Popen(
        [sys.executable, "-c", LLAMAPACK, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, **variables},
        preexec_fn=heed_signals,
    )


def run(hub: LocalHub, home: Path, *words: str) -> tuple[int, str, str]:
    with start(hub, home, *words) as process:
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err


def wait_for_content(process: subprocess.Popen[str]) -> None:
    """Read the reports of a pull until some of the content has come."""
    assert process.stdout is not None
    for line in process.stdout:
        report = json.loads(line)
        if report["status"] == "downloading" and report["completed"]:
            return
    raise AssertionError("the pull ended before any content came")


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_killed_pull_leaves_no_model_and_goes_on(
    hub: LocalHub, tmp_path: Path, kind: signal.Signals
) -> None:
    hub.piece_seconds = 0.005
    with start(hub, tmp_path, "pull", "user/repo", "--json") as process:
        wait_for_content(process)
        process.send_signal(kind)
        process.wait(timeout=60)
        assert process.returncode == (130 if kind is signal.SIGINT else -kind)
    assert json.loads(run(hub, tmp_path, "list", "--json")[1]) == []
    code, _, err = run(hub, tmp_path, "serve", "-hf", "user/repo", "--offline")
    assert code == 1
    assert "user/repo has not been downloaded before" in err
    hub.piece_seconds = 0
    assert run(hub, tmp_path, "pull", "user/repo")[0] == 0
    assert hub.ranges()[-1] is not None
    (model,) = json.loads(run(hub, tmp_path, "list", "--json")[1])
    assert Path(model["path"]).read_bytes() == CONTENT


def test_two_processes_share_one_download(hub: LocalHub, tmp_path: Path) -> None:
    hub.piece_seconds = 0.05  # until the second process waits, however slowly it starts
    reports: list[dict[str, Any]] = []
    with start(hub, tmp_path, "pull", "user/repo", "--json") as first:
        wait_for_content(first)
        with start(hub, tmp_path, "pull", "user/repo", "--json") as second:
            assert second.stdout is not None
            for line in second.stdout:
                reports.append(json.loads(line))
                if reports[-1]["status"] == "waiting":
                    hub.piece_seconds = 0
            second.communicate(timeout=120)
        first.communicate(timeout=120)
    assert (first.returncode, second.returncode) == (0, 0)
    assert hub.downloads() == ["m-Q8_0.gguf"]
    assert "another pull downloads it" in {report.get("reason") for report in reports}
    assert reports[-1]["model"]["name"] == "user/repo:Q8_0"


def test_the_next_process_goes_on_when_the_first_is_killed(hub: LocalHub, tmp_path: Path) -> None:
    hub.piece_seconds = 0.05
    with start(hub, tmp_path, "pull", "user/repo", "--json") as first:
        wait_for_content(first)
        with start(hub, tmp_path, "pull", "user/repo", "--json") as second:
            assert second.stdout is not None
            for line in second.stdout:
                if json.loads(line)["status"] == "waiting":
                    break
            first.kill()
            hub.piece_seconds = 0
            second.communicate(timeout=120)
    assert second.returncode == 0
    (model,) = json.loads(run(hub, tmp_path, "list", "--json")[1])
    assert Path(model["path"]).read_bytes() == CONTENT


def test_a_server_downloads_and_serves_and_ends_in_the_middle(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        **environment(hub, tmp_path),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "NO_PROXY": "127.0.0.1,localhost",
    }.items():
        if name != "HOME":  # the costs of steps are measured once for all tests
            monkeypatch.setenv(name, value)
    hub.repos["user/repo"]["m-Q4_0.gguf"] = CONTENT + bytes(4_000_000)
    hosts = hub.content_url.removeprefix("http://")
    with serving("--models-cache", "--pull-hosts", hosts, has_one_model=False) as server:
        body = {"model": "user/repo:Q8_0"}
        assert httpx.post(f"{server.url}/models", json=body, timeout=60).json() == {"success": True}
        wait_until(lambda: "user/repo:Q8_0" in names(server))
        chat = {**body, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=chat, timeout=120).json()
        assert answer["model"] == "user/repo:Q8_0"
        hub.piece_seconds = 0.1
        httpx.post(f"{server.url}/models", json={"model": "user/repo:Q4_0"}, timeout=60)
        wait_until(lambda: "m-Q4_0.gguf" in hub.downloads())
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
    assert len(list((tmp_path / "hub").rglob("*.incomplete"))) == 1
    found = [path.name for path in (tmp_path / "hub").rglob("*.gguf")]
    assert found == ["m-Q8_0.gguf"]


def names(server: Server) -> list[str]:
    """The models of a server, by name."""
    answer = httpx.get(f"{server.url}/v1/models", timeout=60).json()
    return [model["id"] for model in answer["data"]]
