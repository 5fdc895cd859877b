"""Pulls and removals, by Ollama's clients and LM Studio's, from a hub on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest
from starlette.testclient import TestClient

from config import ServeSettings
from server.app import create_app
from server.ollama.downloads import reference_of
from server.store.folders import folders_of
from server.store.stored_models import stored_models
from tests.support.fake_pool import FakePool, make_pool, pool_app
from tests.support.fake_server import make_server
from tests.support.live import serving
from tests.support.local_hub import LocalHub, environment, gguf_bytes, local_hub

NAME = "hf.co/user/repo:Q4_K_M"
HOSTS = ServeSettings(pull_hosts=("127.0.0.1", "localhost"))
NEAR = ("127.0.0.1", 5000)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with local_hub() as hub:
        hub.repos["user/repo"] = {"model-Q4_K_M.gguf": gguf_bytes(500_000)}
        variables = environment(hub, tmp_path)
        for name in ("HF_HOME", "HF_TOKEN", "XDG_CACHE_HOME", "XDG_DATA_HOME", "OLLAMA_MODELS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield hub


@pytest.fixture
def pool(hub: LocalHub, tmp_path: Path) -> FakePool:
    """A pool that serves what lies in the cache."""
    pool = make_pool("ada")
    variables = environment(hub, tmp_path)

    def read() -> None:
        found = stored_models(folders_of(variables))
        kept = {"ada": pool.servers["ada"]}
        pool.servers = {**kept, **{model.name: pool.servers["ada"] for model in found}}
        pool.paths = {model.name: str(model.path) for model in found}
        pool.downloads = set(pool.paths)

    pool.on_refresh = read
    return pool


@pytest.fixture
def near(pool: FakePool) -> Iterator[TestClient]:
    app = pool_app(pool, HOSTS)
    with TestClient(app, client=NEAR, raise_server_exceptions=False) as client:
        yield client


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("llama3.2", "ollama://llama3.2"),
        ("llama3.2:1b", "ollama://llama3.2:1b"),
        ("user/model:7b", "ollama://user/model:7b"),
        ("registry.ollama.ai/library/llama3.2", "ollama://llama3.2"),
        ("hf.co/user/repo:Q8_0", "hf.co/user/repo:Q8_0"),
        ("huggingface.co/user/repo", "huggingface.co/user/repo"),
        ("https://example.org/a.gguf", "https://example.org/a.gguf"),
        ("../../etc/passwd", "ollama://../../etc/passwd"),
        ("/etc/passwd", "ollama:///etc/passwd"),
    ],
)
def test_what_names_stand_for(name: str, reference: str) -> None:
    assert reference_of(name) == reference


def test_a_pull_is_told_and_then_answers(near: TestClient, pool: FakePool) -> None:
    answer = near.post("/api/pull", json={"model": NAME})
    assert answer.headers["content-type"] == "application/x-ndjson"
    told = lines(answer.text)
    assert told[0] == {"status": "pulling manifest"} or told[0]["status"].startswith("it waits")
    assert [line["status"] for line in told[-3:]] == [
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    assert all(line["completed"] <= line["total"] for line in told if "total" in line)
    chat = {"model": NAME, "messages": [{"role": "user", "content": "Hi"}], "stream": False}
    assert near.post("/api/chat", json=chat).json()["model"] == NAME
    [path] = [path for name, path in pool.paths.items() if name != "ada"]
    assert Path(path).read_bytes() == gguf_bytes(500_000)


def test_a_pull_in_one_piece(near: TestClient, hub: LocalHub) -> None:
    body = {"model": NAME, "stream": False}
    assert near.post("/api/pull", json=body).json() == {"status": "success"}
    assert near.post("/api/pull", json=body).json() == {"status": "success"}
    assert hub.downloads() == ["model-Q4_K_M.gguf"]


def test_what_is_there_is_not_pulled(near: TestClient, hub: LocalHub) -> None:
    told = near.post("/api/pull", json={"model": "ada:latest"})
    assert lines(told.text) == [{"status": "success"}]
    assert hub.asked == []


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hf.co/user/nothing", "user/nothing"),
        ("hf.co/user/repo:Q8_0", "Q8_0"),
        ("file:///etc/passwd", "schemes"),
        ("../../etc/passwd", "--pull-hosts"),
    ],
)
def test_what_cannot_be_pulled(near: TestClient, stream: bool, name: str, text: str) -> None:
    answer = near.post("/api/pull", json={"model": name, "stream": stream})
    error = lines(answer.text)[-1]["error"]
    assert text in error
    assert (
        answer.status_code == 200
        if stream and len(lines(answer.text)) > 1
        else 400 <= (answer.status_code) < 500
    )


@pytest.mark.parametrize("name", ["http://192.0.2.1/a.gguf", "http://metadata.internal/a.gguf"])
def test_other_hosts_are_not_asked(near: TestClient, name: str) -> None:
    answer = near.post("/api/pull", json={"model": name, "stream": False})
    assert answer.status_code == 403
    assert "--pull-hosts" in answer.json()["error"]


def test_a_hub_may_not_send_elsewhere(pool: FakePool, hub: LocalHub) -> None:
    """The hub itself is the operator's; that it names another host for the content changes
    nothing."""
    app = pool_app(pool, ServeSettings(pull_hosts=("hub.invalid",)))
    with TestClient(app, client=NEAR) as client:
        answer = client.post("/api/pull", json={"model": NAME, "stream": False})
    assert answer.status_code == 403
    assert hub.downloads() == []


def test_a_client_that_leaves_ends_the_pull(pool: FakePool, hub: LocalHub) -> None:
    hub.piece_seconds = 0.05
    with serving(pool_app(pool, HOSTS)) as url:
        with ollama.Client(host=url) as client:
            for part in client.pull(NAME, stream=True):
                if part.completed:
                    break
        with TestClient(pool_app(pool, HOSTS)) as other:
            assert other.get("/api/v1/models/download/status").json()["downloading"] == []
    assert pool.refreshed == 0


def test_the_official_client(pool: FakePool) -> None:
    with serving(pool_app(pool, HOSTS)) as url, ollama.Client(host=url) as client:
        assert client.pull(NAME).status == "success"
        assert client.chat(NAME, [{"role": "user", "content": "Hi"}]).message.content
        names = [model.model for model in client.list().models]
        assert NAME in names
        client.delete(NAME)  # the name alone
        [stored] = [name for name in names if name not in (NAME, "ada:latest")]
        assert stored is not None
        client.delete(stored)
        assert [model.model for model in client.list().models] == ["ada:latest"]


def test_only_what_was_pulled_is_removed(near: TestClient) -> None:
    answer = near.request("DELETE", "/api/delete", json={"model": "ada"})
    assert answer.status_code == 403
    assert "operator" in answer.json()["error"]


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/pull"), ("DELETE", "/api/delete")])
def test_one_model_stays_the_only_one(method: str, path: str) -> None:
    client = TestClient(create_app(make_server().context), client=NEAR)
    name = "llama3.2" if method == "POST" else "fake-model"
    answer = client.request(method, path, json={"model": name})
    assert answer.status_code == 501
    assert "started for one model" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/pull", {"model": NAME}),
        ("DELETE", "/api/delete", {"model": "ada"}),
        ("POST", "/api/v1/models/download", {"model": "user/repo"}),
    ],
)
def test_strangers_pull_and_remove_nothing(
    pool: FakePool, hub: LocalHub, method: str, path: str, body: Any
) -> None:
    client = TestClient(pool_app(pool, HOSTS), client=("192.0.2.7", 5000))
    assert client.request(method, path, json=body).status_code == 403
    assert hub.asked == []


# --- LM Studio's ---------------------------------------------------------------------------


def test_a_download_goes_on_by_itself(near: TestClient, hub: LocalHub, pool: FakePool) -> None:
    hub.piece_seconds = 0.02
    body = {"model": "user/repo", "quantization": "Q4_K_M"}
    job = near.post("/api/v1/models/download", json=body).json()
    assert job["status"] == "downloading"
    assert near.post("/api/v1/models/download", json=body).json()["job_id"] == job["job_id"]
    path = f"/api/v1/models/download/status/{job['job_id']}"
    assert eventually(lambda: near.get(path).json()["status"] == "completed")
    done = near.get(path).json()
    assert done["downloaded_bytes"] == done["total_size_bytes"] == 500_000
    assert done["completed_at"] >= done["started_at"]
    everything = near.get("/api/v1/models/download/status").json()
    assert [one["job_id"] for one in everything["completed"]] == [job["job_id"]]
    assert pool.refreshed >= 1


def test_a_download_that_fails(near: TestClient) -> None:
    job = near.post("/api/v1/models/download", json={"model": "user/nothing"}).json()
    path = f"/api/v1/models/download/status/{job['job_id']}"
    assert eventually(lambda: near.get(path).json()["status"] == "failed")
    assert "user/nothing" in near.get(path).json()["error"]
    assert near.get("/api/v1/models/download/status/job_0").status_code == 404


def test_a_download_of_what_is_there(near: TestClient) -> None:
    answer = near.post("/api/v1/models/download", json={"model": "ada"})
    assert answer.json() == {"status": "already_downloaded"}
    wrong = {"model": "user/repo:Q8_0", "quantization": "Q4_K_M"}
    assert near.post("/api/v1/models/download", json=wrong).status_code == 400
