"""Which models there are, what they are, and who may change them."""

from __future__ import annotations

import datetime
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest
from starlette.testclient import TestClient

from config import ServeSettings
from server.access.key import ApiKey, digest_of
from server.access.key_ring import KeyRing
from server.app import create_app
from tests.support import fake_server, tiny_models
from tests.support.fake_pool import FakePool, make_pool, pool_app
from tests.support.fake_server import make_server
from tests.support.live import serving

NEAR = ("127.0.0.1", 5000)
FAR = ("192.0.2.7", 5000)


@pytest.fixture
def pool() -> FakePool:
    return make_pool("ada", "bob")


def client_of(app: Any, client: tuple[str, int] = NEAR) -> TestClient:
    return TestClient(app, client=client, raise_server_exceptions=False)


@pytest.fixture
def near(pool: FakePool) -> Iterator[TestClient]:
    with client_of(pool_app(pool)) as client:
        yield client


def one(settings: ServeSettings | None = None) -> TestClient:
    return client_of(create_app(make_server(settings).context))


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


# --- what is there -------------------------------------------------------------------------


def test_the_one_model_is_listed_with_a_tag() -> None:
    [model] = one().get("/api/tags").json()["models"]
    assert (model["name"], model["model"]) == ("fake-model:latest",) * 2
    assert model["size"] == 2000
    assert len(model["digest"]) == 64
    assert datetime.datetime.fromisoformat(model["modified_at"]).tzinfo is not None
    assert model["details"] == {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "1K",
        "quantization_level": "F16",
        "context_length": 4096,
        "embedding_length": 64,
    }
    assert model["capabilities"] == ["completion"]


def test_the_one_model_is_loaded_for_ever() -> None:
    [model] = one().get("/api/ps").json()["models"]
    assert model["name"] == "fake-model:latest"
    assert model["context_length"] == 128
    until = datetime.datetime.fromisoformat(model["expires_at"])
    assert until - datetime.datetime.now(datetime.UTC) > datetime.timedelta(days=10_000)


def test_loaded_models_of_a_pool(pool: FakePool, near: TestClient) -> None:
    names = [model["name"] for model in near.get("/api/tags").json()["models"]]
    assert sorted(names) == ["ada:latest", "bob:latest"]
    assert near.get("/api/ps").json() == {"models": []}
    pool.in_memory.add("bob")
    [model] = near.get("/api/ps").json()["models"]
    assert (model["name"], model["size"], model["size_vram"]) == ("bob:latest", 4000, 1000)
    assert model["expires_at"] == "2033-05-18T03:33:20.500000+00:00"


@pytest.mark.parametrize("name", ["fake-model", "fake-model:latest"])
@pytest.mark.parametrize("fields", ["model", "name", "model and name"])
def test_a_model_is_shown(name: str, fields: str) -> None:
    bodies = {"model and name": {"model": "", "name": name}}
    shown = one().post("/api/show", json=bodies.get(fields, {fields: name})).json()
    assert shown["model_info"]["general.architecture"] == "llama"
    assert shown["parameters"].split() == ["num_ctx", "128"]
    assert shown["details"]["family"] == "llama"
    assert "add_generation_prompt" in shown["template"]
    assert shown["modelfile"].startswith("FROM fake-model")
    assert "/models" not in json.dumps(shown)


def test_what_a_file_says_is_shown(tmp_path: Path, pool: FakePool, near: TestClient) -> None:
    path = tmp_path / "tiny.gguf"
    tiny_models.sliding(path)
    pool.paths["bob"] = str(path)
    shown = near.post("/api/show", json={"model": "bob"}).json()
    family = shown["details"]["family"]
    assert shown["model_info"][f"{family}.context_length"] == shown["details"]["context_length"]
    assert shown["capabilities"][0] == "completion"
    [found] = [m for m in near.get("/api/tags").json()["models"] if m["name"] == "bob:latest"]
    assert found["size"] == path.stat().st_size
    assert pool.in_memory == set()
    assert str(tmp_path) not in json.dumps(shown)


@pytest.mark.parametrize("name", ["nobody", "nobody:7b", "fake-model:7b"])
def test_an_unknown_model_is_not_shown(name: str) -> None:
    answer = one().post("/api/show", json={"model": name})
    assert (answer.status_code, answer.json()) == (404, {"error": f"model '{name}' not found"})


@pytest.mark.parametrize("body", [{}, {"model": ""}, {"model": "", "name": ""}, {"name": 5}])
def test_a_model_must_be_named(body: Any) -> None:
    for path in ("/api/show", "/api/create", "/api/pull", "/api/push"):
        answer = one().post(path, json=body)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(("'model' ", "'name' "))


def test_a_version_that_clients_can_compare() -> None:
    found = one().get("/api/version").json()["version"]
    assert [part.isdecimal() for part in found.split(".")] == [True] * 3


@pytest.mark.parametrize(
    ("accept", "is_ollamas"),
    [
        ("*/*", True),
        ("", True),
        ("text/plain", True),
        ("application/json", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
    ],
)
def test_the_root(accept: str, is_ollamas: bool) -> None:
    client = one()
    answer = client.get("/", headers={"Accept": accept})
    assert answer.status_code == client.head("/", headers={"Accept": accept}).status_code == 200
    assert (answer.text == "Ollama is running") is is_ollamas


def test_errors_of_routes_have_ollamas_shape() -> None:
    client = one()
    for answer in (client.get("/api/nothing"), client.get("/api/chat"), client.post("/api/chat")):
        assert answer.status_code in (400, 404, 405)
        assert isinstance(answer.json()["error"], str)
    assert isinstance(client.get("/api/v1/nothing").json()["error"], dict)
    assert isinstance(client.get("/v1/nothing").json()["error"], dict)


# --- which model answers -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/api/chat", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/api/generate", {"prompt": "Hi"}),
    ],
)
def test_the_name_chooses(pool: FakePool, near: TestClient, path: str, fields: Any) -> None:
    body = {"model": "bob:latest", "stream": False, "keep_alive": "10m", **fields}
    assert near.post(path, json=body).status_code == 200
    assert pool.asked == [("bob", 600.0)]
    assert len(pool.servers["bob"].generator.opened) == 1
    near.post(path, json={**body, "keep_alive": -1})
    near.post(path, json={**body, "keep_alive": None})
    assert pool.asked[1:] == [("bob", math.inf), ("bob", None)]
    answer = near.post(path, json={**body, "model": "carl"})
    assert (answer.status_code, answer.json()) == (404, {"error": "model 'carl' not found"})


@pytest.mark.parametrize(
    ("path", "fields"),
    [("/api/chat", {}), ("/api/generate", {}), ("/api/generate", {"prompt": ""})],
)
def test_models_are_loaded_and_unloaded(
    pool: FakePool, near: TestClient, path: str, fields: Any
) -> None:
    body = {"model": "bob", **fields}
    assert near.post(path, json=body).json()["done_reason"] == "load"
    assert pool.in_memory == {"bob"}
    asked = len(pool.asked)
    assert near.post(path, json={**body, "keep_alive": 0}).json()["done_reason"] == "unload"
    assert pool.in_memory == set()
    assert len(pool.asked) == asked  # nothing is loaded to be unloaded
    assert near.post(path, json={**body, "model": "carl", "keep_alive": 0}).status_code == 404


# --- models that are made ------------------------------------------------------------------

MARIO = '''
# A plumber.
FROM bob
PARAMETER temperature 0.25
PARAMETER num_ctx 500
PARAMETER stop "Luigi:"
PARAMETER stop world
SYSTEM """You are Mario.
Answer short."""
TEMPLATE chatml
MESSAGE user Who are you?
MESSAGE assistant "It's-a me!"
'''
FIELDS = {
    "from": "bob",
    "parameters": {"temperature": 0.25, "num_ctx": 500, "stop": ["Luigi:", "world"]},
    "system": "You are Mario.\nAnswer short.",
    "template": "chatml",
    "messages": [
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "It's-a me!"},
    ],
}


@pytest.mark.parametrize("fields", [{"modelfile": MARIO}, FIELDS])
def test_a_model_is_made(
    pool: FakePool, near: TestClient, fields: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_server, "N_CTX_SLOT", 1000)
    made = near.post("/api/create", json={"model": "mario", **fields})
    assert [line["status"] for line in lines(made.text)][-1] == "success"
    names = {model["name"]: model for model in near.get("/api/tags").json()["models"]}
    assert names["mario:latest"]["details"]["parent_model"] == "bob:latest"
    chat = {"model": "mario", "messages": [{"role": "user", "content": "Hi"}], "stream": False}
    answer = near.post("/api/chat", json=chat).json()
    assert answer["model"] == "mario"
    request = pool.servers["bob"].generator.opened[-1]
    assert request.spec.sampling.temperature == 0.25
    assert request.stop == ("Luigi:", "world")
    assert request.spec.max_tokens == 500 - len(request.spec.prompt)
    assert bytes(t for t in request.spec.prompt if t < 256).decode() == (
        "<|im_start|>system\nYou are Mario.\nAnswer short.<|im_end|>\n"
        "<|im_start|>user\nWho are you?<|im_end|>\n"
        "<|im_start|>assistant\nIt's-a me!<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    near.post("/api/chat", json={**chat, "options": {"temperature": 0.75}})
    assert pool.servers["bob"].generator.opened[-1].spec.sampling.temperature == 0.75


def test_a_made_model_is_shown_as_it_was_made(near: TestClient) -> None:
    near.post("/api/create", json={"model": "mario", "modelfile": MARIO})
    shown = near.post("/api/show", json={"model": "mario:latest"}).json()
    assert shown["system"] == "You are Mario.\nAnswer short."
    parameters = dict(line.split(maxsplit=1) for line in shown["parameters"].splitlines())
    assert parameters["temperature"] == "0.25"
    assert parameters["stop"] in ('"Luigi:"', '"world"')
    again = near.post("/api/create", json={"model": "again", "modelfile": shown["modelfile"]})
    assert again.status_code == 200, again.text
    same = near.post("/api/show", json={"model": "again"}).json()
    assert {name: same[name] for name in ("system", "parameters", "template", "messages")} == {
        name: shown[name] for name in ("system", "parameters", "template", "messages")
    }


def test_models_are_made_of_made_models_and_copied(near: TestClient) -> None:
    near.post("/api/create", json={"model": "mario", "modelfile": MARIO})
    body = {"model": "luigi", "from": "mario", "system": "You are Luigi.", "stream": False}
    assert near.post("/api/create", json=body).json() == {"status": "success"}
    copy = {"source": "luigi", "destination": "friend:7b"}
    assert near.post("/api/copy", json=copy).status_code == 200
    assert near.post("/api/copy", json={"source": "ada", "destination": "eve"}).status_code == 200
    shown = near.post("/api/show", json={"model": "friend:7b"}).json()
    assert shown["system"] == "You are Luigi."
    assert "0.25" in shown["parameters"]
    assert near.request("DELETE", "/api/delete", json={"model": "mario"}).status_code == 200
    assert near.request("DELETE", "/api/delete", json={"model": "mario"}).status_code == 404
    assert near.post("/api/show", json={"model": "luigi"}).status_code == 200


def test_made_models_are_kept_over_restarts(tmp_path: Path) -> None:
    settings = ServeSettings(made_models=tmp_path / "made.json")
    body = {"model": "mario", "from": "bob", "system": "Be kind", "parameters": {"seed": 7}}
    with client_of(pool_app(make_pool("bob"), settings)) as client:
        assert client.post("/api/create", json=body).status_code == 200
    pool = make_pool("bob")
    with client_of(pool_app(pool, settings)) as client:
        chat = {"model": "mario", "messages": [{"role": "user", "content": "Hi"}]}
        assert client.post("/api/chat", json=chat).status_code == 200
        assert pool.servers["bob"].generator.opened[-1].spec.sampling.seed == 7
        assert client.request("DELETE", "/api/delete", json={"name": "mario"}).status_code == 200
    with client_of(pool_app(make_pool("bob"), settings)) as client:
        assert client.post("/api/show", json={"model": "mario"}).status_code == 404


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({}, 400, "'from' must name the model"),
        ({"from": "carl"}, 404, "model 'carl' not found"),
        ({"from": "bob", "model": "ada"}, 400, "'model' is the name of a model that is served"),
        ({"from": "bob", "model": "../x"}, 400, "'model' is no name"),
        ({"from": "bob", "files": {"a.gguf": "sha256:0"}}, 400, "llamapack import"),
        ({"from": "bob", "adapters": {"a": "sha256:0"}}, 400, "--lora"),
        ({"from": "bob", "quantize": "q4_K_M"}, 400, "'quantize'"),
        ({"from": "bob", "template": "{{ .System }}"}, 400, "'template' must be"),
        ({"from": "bob", "parameters": {"num_gpu": 5}}, 400, "'parameters.num_gpu'"),
        ({"from": "bob", "parameters": {"top_p": 5}}, 400, "'parameters.top_p'"),
        ({"modelfile": "FROM bob\nADAPTER x"}, 400, "ADAPTER x"),
        ({"modelfile": "FROM bob\nPARAMETER top_p 5"}, 400, "top_p"),
        ({"modelfile": 'FROM bob\nSYSTEM """x'}, 400, "ends within three quotes"),
        ({"modelfile": "FROM bob\nMESSAGE bot x"}, 400, "role"),
    ],
)
def test_what_no_model_can_be_made_of(
    near: TestClient, fields: Any, status: int, text: str
) -> None:
    answer = near.post("/api/create", json={"model": "mario", **fields})
    assert answer.status_code == status, answer.text
    assert text in answer.json()["error"]


# --- who may change models -----------------------------------------------------------------

CHANGES = [
    ("POST", "/api/create", {"model": "mario", "from": "bob"}),
    ("POST", "/api/copy", {"source": "bob", "destination": "mario"}),
    ("DELETE", "/api/delete", {"model": "nobody"}),
    ("POST", "/api/push", {"model": "bob"}),
    ("POST", "/api/blobs/sha256:0", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_strangers_change_nothing(pool: FakePool, method: str, path: str, body: Any) -> None:
    app = pool_app(pool)
    far = client_of(app, FAR).request(method, path, json=body)
    assert far.status_code == 403
    assert "API key" in far.json()["error"]
    proxied = client_of(app).request(
        method, path, json=body, headers={"X-Forwarded-For": "1.2.3.4"}
    )
    assert proxied.status_code == 403
    assert client_of(app).request(method, path, json=body).status_code != 403


UNLOADS = [
    ("POST", "/api/chat", {"model": "bob", "keep_alive": 0}),
    ("POST", "/api/generate", {"model": "bob", "keep_alive": 0}),
    ("POST", "/api/v1/models/unload", {"instance_id": "bob"}),
]


@pytest.mark.parametrize(("method", "path", "body"), [*CHANGES, *UNLOADS])
def test_with_keys_admins_may_change_models(
    pool: FakePool, method: str, path: str, body: Any
) -> None:
    digests = {name: digest_of(name.encode()) for name in ("alice", "root")}
    keys = KeyRing(
        [
            ApiKey(name=name, digest=digest, is_admin=name == "root")
            for name, digest in digests.items()
        ],
        time.monotonic(),
    )
    pool.in_memory.add("bob")
    client = client_of(pool_app(pool, keys=keys), FAR)

    def status(**headers: str) -> int:
        return client.request(method, path, json=body, headers=headers).status_code

    assert status() == 401
    assert status(Authorization="Bearer alice") == 403
    assert pool.in_memory == {"bob"}
    assert status(Authorization="Bearer root") not in (401, 403)


def test_nothing_is_pushed_or_uploaded(near: TestClient) -> None:
    assert "not pushed" in near.post("/api/push", json={"model": "bob"}).json()["error"]
    assert near.head("/api/blobs/sha256:0").status_code == 404
    assert "llamapack import" in near.post("/api/blobs/sha256:0", content=b"x").json()["error"]


# --- the official client -------------------------------------------------------------------


def test_the_official_client() -> None:
    with serving(pool_app(make_pool("ada", "bob"))) as url, ollama.Client(host=url) as client:
        assert sorted(model.model or "" for model in client.list().models) == [
            "ada:latest",
            "bob:latest",
        ]
        assert client.ps().models == []
        assert client.create("mario", from_="bob", system="Be kind").status == "success"
        assert client.show("mario").modelinfo is not None
        assert client.chat("mario", [{"role": "user", "content": "Hi"}]).message.content
        assert [model.name for model in client.ps().models] == ["bob:latest"]
        assert client.copy("mario", "luigi").status == "success"
        assert client.delete("luigi").status == "success"
        client.generate("bob", keep_alive=0)
        assert client.ps().models == []
        with pytest.raises(ollama.ResponseError, match="model 'carl' not found") as caught:
            client.show("carl")
        assert caught.value.status_code == 404
