"""Models by URL and out of registries: found by the settings of a server, and by pulls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest

from config import load_settings
from server.startup import ModelFileError
from server.store.errors import StoreError, WrongContent
from server.store.model import StoredModel
from server.store.own_files import place_at
from server.store.registry import REGISTRIES, Registry
from server.store.resolve import resolve_model
from tests.support.local_hub import LocalHub, gguf_bytes, running
from tests.support.paths import DEMO_DRAFT, DEMO_TARGET

Pull = Callable[..., StoredModel]

GGUF = DEMO_DRAFT.read_bytes()
DIGEST = hashlib.sha256(GGUF).hexdigest()


@pytest.fixture
def url(hub: LocalHub) -> str:
    hub.repos["a/b"] = {"model.gguf": GGUF}
    return f"{hub.content_url}/content/a/b/model.gguf"


def resolve(environ: dict[str, str], *flags: str) -> Path:
    return resolve_model(load_settings(flags, {}), environ)


def test_a_url_is_downloaded_once(hub: LocalHub, environ: dict[str, str], url: str) -> None:
    path = resolve(environ, "-mu", f"{url}?x=1")
    assert path.name == "model.gguf"
    assert path.read_bytes() == GGUF
    again = resolve(environ, "-mu", f"{url}?x=1")
    assert again == resolve(environ, "-mu", f"{url}?x=1", "--offline") == path
    assert hub.downloads() == ["model.gguf"]


def test_a_file_that_is_there_needs_no_origin(
    hub: LocalHub, environ: dict[str, str], url: str
) -> None:
    for origin in (("-mu", url), ("-hf", "u/r"), ("-dr", "smollm2")):
        assert resolve(environ, "-m", str(DEMO_TARGET), *origin) == DEMO_TARGET
    assert hub.asked == []


def test_a_missing_file_is_downloaded_to_its_place(
    environ: dict[str, str], url: str, tmp_path: Path
) -> None:
    place = tmp_path / "new" / "mine.gguf"
    assert resolve(environ, "-m", str(place), "-mu", url) == place
    assert place.read_bytes() == GGUF
    assert [file.name for file in place.parent.glob("*")] == ["mine.gguf"]


def test_a_file_of_the_hub_is_put_at_its_place(
    hub: LocalHub, environ: dict[str, str], tmp_path: Path
) -> None:
    hub.repos["u/r"] = {"m.gguf": GGUF}
    place = tmp_path / "new" / "mine.gguf"
    assert resolve(environ, "-m", str(place), "-hf", "u/r") == place
    assert place.read_bytes() == GGUF


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("http://127.0.0.1:1/x.gguf", "failed: .*[Rr]efused"),
        ("file:///etc/passwd", "must be the http or https address"),
        ("http://127.0.0.1:1/", "must be the http or https address"),
        ("http://127.0.0.1:1/%2e%2e", "must be the http or https address"),
        ("http://127.0.0.1:1/a%2f..%2f", "must be the http or https address"),
        ("http://127.0.0.1:1/m-00001-of-99999.gguf", "one of 99999 parts"),
    ],
)
def test_an_address_that_leads_nowhere_is_one_line(
    environ: dict[str, str], tmp_path: Path, reference: str, message: str, pulled: Pull
) -> None:
    with pytest.raises(ModelFileError, match=message) as caught:
        pulled(reference) if "efused" in message else resolve(environ, "-mu", reference)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.gguf"))


def test_a_url_that_is_not_there(hub: LocalHub, pulled: Pull, url: str) -> None:
    hub.statuses = [(404, {})]
    with pytest.raises(StoreError, match="failed: status 404"):
        pulled(url)


def test_a_cut_url_goes_on_if_the_file_is_still_the_same(
    hub: LocalHub, pulled: Pull, url: str
) -> None:
    hub.cuts = [50_000, 0, 0, 0, 0, 0]
    with pytest.raises(StoreError, match="the connection was cut"):
        pulled(url)
    hub.cuts = []
    hub.asked.clear()
    assert pulled(url).path.read_bytes() == GGUF
    (asked,) = hub.asked
    assert (asked.range, asked.headers["if-range"]) == ("bytes=50000-", '"of the content"')


def test_a_cut_url_starts_over_if_the_file_is_another_one(
    hub: LocalHub, pulled: Pull, url: str, tmp_path: Path
) -> None:
    hub.cuts = [50_000, 0, 0, 0, 0, 0]
    with pytest.raises(StoreError):
        pulled(url)
    (version,) = tmp_path.rglob("*.version")
    version.write_text('"an earlier one"')
    hub.cuts = []
    assert pulled(url).path.read_bytes() == GGUF
    assert not list(tmp_path.rglob("*.version"))


def test_a_cut_url_without_a_version_starts_over(
    hub: LocalHub, pulled: Pull, url: str, tmp_path: Path
) -> None:
    hub.cuts = [50_000, 0, 0, 0, 0, 0]
    with pytest.raises(StoreError):
        pulled(url)
    (version,) = tmp_path.rglob("*.version")
    version.unlink()
    hub.cuts = []
    hub.asked.clear()
    assert pulled(url).path.read_bytes() == GGUF
    assert [one.range for one in hub.asked] == [None]


def test_all_parts_of_an_address_are_pulled(hub: LocalHub, pulled: Pull) -> None:
    parts = {f"m-0000{part}-of-00002.gguf": gguf_bytes(seed=str(part)) for part in (1, 2)}
    hub.repos["a/b"] = parts
    model = pulled(f"{hub.content_url}/content/a/b/m-00001-of-00002.gguf?download=true")
    assert [file.name for file in model.files] == list(parts)
    assert [file.read_bytes() for file in model.files] == list(parts.values())
    assert model.name == "m"


class WithoutLength(BaseHTTPRequestHandler):
    """A server that tells neither size nor version, and ends the connection when it likes."""

    body: ClassVar[bytes] = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


def test_a_file_of_unknown_size_is_measured_by_its_own_head(pulled: Pull, tmp_path: Path) -> None:
    with running(WithoutLength) as address:
        WithoutLength.body = GGUF[:-5000]
        with pytest.raises(WrongContent, match=r"came with [\d,]+ of [\d,]+ bytes"):
            pulled(f"{address}/m.gguf")
        assert not list(tmp_path.rglob("m.gguf*"))
        WithoutLength.body = GGUF
        assert pulled(f"{address}/m.gguf").path.read_bytes() == GGUF


def test_offline_needs_an_earlier_download(environ: dict[str, str]) -> None:
    for flags in (("-mu", "http://127.0.0.1:1/x.gguf"), ("-dr", "smollm2")):
        with pytest.raises(ModelFileError, match="has not been downloaded before"):
            resolve(environ, *flags, "--offline")


class RegistryHandler(BaseHTTPRequestHandler):
    """Bodies by their path. `/v2/` may need a token, and its blobs are at another address."""

    bodies: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[tuple[str, str | None]]] = []
    token: ClassVar[str | None] = None

    def do_GET(self) -> None:
        authorization = self.headers.get("Authorization")
        self.asked.append((self.path, authorization))
        body = self.bodies.get(self.path)
        wanted = None if self.token is None else f"Bearer {self.token}"
        if self.path.startswith("/v2/") and authorization != wanted:
            self.send_error(401)
        elif "/blobs/" in self.path:
            self.send_response(307)
            host = self.headers["Host"].replace("127.0.0.1", "localhost")
            self.send_header("Location", f"http://{host}/elsewhere/{self.path[-8:]}")
            self.end_headers()
        elif body is None:
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def address() -> Iterator[str]:
    RegistryHandler.bodies, RegistryHandler.asked, RegistryHandler.token = {}, [], None
    with running(RegistryHandler) as address:
        yield address


def registries(address: str) -> dict[str, Registry]:
    docker = replace(REGISTRIES["docker"], address=address, tokens=f"{address}/token?service=x")
    return {"docker": docker, "ollama": replace(REGISTRIES["ollama"], address=address)}


def layers(*kinds: tuple[str, bytes]) -> bytes:
    found = [
        {"mediaType": kind, "digest": f"sha256:{hashlib.sha256(body).hexdigest()}"}
        for kind, body in kinds
    ]
    return json.dumps({"layers": found}).encode()


def content(*bodies: bytes) -> dict[str, bytes]:
    return {f"/elsewhere/{hashlib.sha256(body).hexdigest()[-8:]}": body for body in bodies}


@pytest.mark.parametrize(
    ("repo", "path", "tag"),
    [
        ("smollm2", "ai/smollm2", "latest"),
        ("smollm2:135M-Q4_0", "ai/smollm2", "135M-Q4_0"),
        ("some/model:x", "some/model", "x"),
    ],
)
def test_a_docker_model_is_found_and_checked(
    address: str, pulled: Pull, repo: str, path: str, tag: str
) -> None:
    kinds = (
        ("application/vnd.docker.ai.license", b"free"),
        ("application/vnd.docker.ai.gguf.v3", GGUF),
    )
    RegistryHandler.token = "t0ken"
    RegistryHandler.bodies |= {
        f"/token?service=x&scope=repository:{path}:pull": b'{"token": "t0ken"}',
        f"/v2/{path}/manifests/{tag}": layers(*kinds),
        **content(GGUF),
    }
    ours: dict[str, Any] = {"registries": registries(address)}
    told: list[tuple[str, int]] = []
    model = pulled(
        f"docker://{repo}",
        before_fetch=lambda files: told.extend(
            (file.digest, len(RegistryHandler.asked)) for file in files
        ),
        **ours,
    )
    assert told == [(f"sha256:{DIGEST}", 2)]  # a token and a manifest were asked for
    assert model.path.read_bytes() == GGUF
    assert (model.name, model.digest) == (f"{path}:{tag}", f"sha256:{DIGEST}")
    elsewhere = [one for one in RegistryHandler.asked if one[0].startswith("/elsewhere")]
    assert [token for _, token in elsewhere] == [None]  # the token stays with the registry
    assert pulled(f"docker://{repo}", offline=True, **ours).path == model.path
    for place in content(GGUF):
        RegistryHandler.bodies[place] = GGUF[:-1] + b"x"
    model.path.unlink()
    with pytest.raises(WrongContent, match="changed on the way"):
        pulled(f"docker://{repo}", **ours)


@pytest.mark.parametrize(
    ("repo", "path", "tag", "name"),
    [
        ("llama3.2", "library/llama3.2", "latest", "llama3.2:latest"),
        ("llama3.2:3b", "library/llama3.2", "3b", "llama3.2:3b"),
        ("me/mine:q8", "me/mine", "q8", "me/mine:q8"),
    ],
)
def test_a_model_of_ollama_comes_with_its_projector(
    address: str, pulled: Pull, repo: str, path: str, tag: str, name: str
) -> None:
    projector = gguf_bytes(seed="sees")
    RegistryHandler.bodies |= {
        f"/v2/{path}/manifests/{tag}": layers(
            ("application/vnd.ollama.image.template", b"{{ . }}"),
            ("application/vnd.ollama.image.model", GGUF),
            ("application/vnd.ollama.image.projector", projector),
        ),
        **content(GGUF, projector),
    }
    model = pulled(f"ollama://{repo}", registries=registries(address), projector=True)
    assert model.name == name
    assert model.path.read_bytes() == GGUF
    assert model.projector is not None
    assert model.projector.read_bytes() == projector


def test_a_new_version_of_a_tag_takes_the_place_of_the_old_one(address: str, pulled: Pull) -> None:
    for body in (GGUF, gguf_bytes(seed="new")):
        manifest = layers(("application/vnd.ollama.image.model", body))
        RegistryHandler.bodies |= {"/v2/library/x/manifests/latest": manifest, **content(body)}
        model = pulled("ollama://x", registries=registries(address))
        assert list(model.path.parent.glob("*.gguf")) == [model.path]
        assert model.path.read_bytes() == body


@pytest.mark.parametrize(
    "manifest",
    [
        b"{}",
        b'{"layers": []}',
        b"no",
        b'{"layers": [{}]}',
        b'{"layers": [{"mediaType": "x.gguf", "digest": "sha256:../../x"}]}',
        b'{"layers": 5}',
        b"[]",
    ],
)
def test_an_image_without_a_model(address: str, pulled: Pull, manifest: bytes) -> None:
    RegistryHandler.token = "t0ken"
    RegistryHandler.bodies |= {
        "/token?service=x&scope=repository:ai/x:pull": b'{"token": "t0ken"}',
        "/v2/ai/x/manifests/latest": manifest,
    }
    with pytest.raises(StoreError, match="Docker has no GGUF model x"):
        pulled("docker://x", registries=registries(address))


def test_a_registry_without_the_model(address: str, pulled: Pull) -> None:
    with pytest.raises(StoreError, match="the registry of Ollama has no model x:y"):
        pulled("ollama://x:y", registries=registries(address))


@pytest.mark.parametrize("repo", ["a/b/c", "", "a:b:c", "../x/y", "..", "a/..", "x:.."])
def test_a_name_of_another_form(pulled: Pull, repo: str) -> None:
    with pytest.raises(StoreError, match="a model of Docker looks like"):
        pulled(f"docker://{repo}")


def test_parts_of_a_split_model_keep_their_names(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    parts = [cache / f"m-0000{number}-of-00002.gguf" for number in (1, 2)]
    for part in parts:
        part.write_text(part.name)
    place = place_at(parts[0], tmp_path / "new" / "mine.gguf")
    assert place == tmp_path / "new" / parts[0].name
    assert {file.name: file.read_text() for file in place.parent.iterdir()} == {
        part.name: part.name for part in parts
    }
