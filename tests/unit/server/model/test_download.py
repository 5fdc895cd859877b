"""Models by URL and out of Docker's registry, from a server on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from config import load_settings
from server.model import docker
from server.model.download import place_at
from server.model.files import resolve_model
from server.startup import ModelFileError
from tests.support.paths import DEMO_DRAFT, DEMO_TARGET

GGUF = DEMO_DRAFT.read_bytes()
DIGEST = hashlib.sha256(GGUF).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Bodies by their path. `/v2/` needs a token, and its blobs are at another address."""

    bodies: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[tuple[str, str | None]]] = []
    cut: ClassVar[bool] = False

    def do_GET(self) -> None:
        authorization = self.headers.get("Authorization")
        self.asked.append((self.path, authorization))
        body = self.bodies.get(self.path)
        if self.path.startswith("/v2/") and authorization != "Bearer t0ken":
            self.send_error(401)
        elif "/blobs/" in self.path:
            self.send_response(307)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
        elif body is None:
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.cut else body)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the tests' output clean."""


@pytest.fixture
def address() -> Iterator[str]:
    Handler.bodies, Handler.asked, Handler.cut = {}, [], False
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def resolve(environ: dict[str, str], *flags: str) -> Path:
    return resolve_model(load_settings(flags, {}), environ)


def test_a_url_is_downloaded_once(address: str, environ: dict[str, str]) -> None:
    Handler.bodies["/a/model.gguf?x=1"] = GGUF
    url = f"{address}/a/model.gguf?x=1"
    path = resolve(environ, "-mu", url)
    assert path.name == "model.gguf"
    assert path.read_bytes() == GGUF
    assert resolve(environ, "-mu", url) == resolve(environ, "-mu", url, "--offline") == path
    assert len(Handler.asked) == 1


def test_a_file_that_is_there_needs_no_origin(environ: dict[str, str], address: str) -> None:
    file = str(DEMO_TARGET)
    for origin in (("-mu", f"{address}/x.gguf"), ("-hf", "u/r"), ("-dr", "smollm2")):
        assert resolve(environ, "-m", file, *origin) == DEMO_TARGET
    assert Handler.asked == []


def test_a_missing_file_is_downloaded_to_its_place(
    address: str, environ: dict[str, str], tmp_path: Path
) -> None:
    Handler.bodies["/model.gguf"] = GGUF
    place = tmp_path / "new" / "mine.gguf"
    assert resolve(environ, "-m", str(place), "-mu", f"{address}/model.gguf") == place
    assert place.read_bytes() == GGUF
    assert [file.name for file in place.parent.iterdir()] == ["mine.gguf"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{}/none.gguf", "downloading .* failed: status 404"),
        ("http://127.0.0.1:1/x.gguf", "failed: .*[Rr]efused"),
        ("file:///etc/passwd", "must be the http or https address"),
        ("{}/", "must be the http or https address"),
        ("{}/cut.gguf", "failed"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_no_file(
    address: str, environ: dict[str, str], url: str, message: str
) -> None:
    Handler.bodies["/cut.gguf"] = GGUF
    Handler.cut = True
    with pytest.raises(ModelFileError, match=message) as caught:
        resolve(environ, "-mu", url.format(address))
    assert "\n" not in str(caught.value)
    assert not [file for file in Path(environ["XDG_CACHE_HOME"]).rglob("*") if file.is_file()]


def test_offline_needs_an_earlier_download(environ: dict[str, str]) -> None:
    for flags in (("-mu", "http://127.0.0.1:1/x.gguf"), ("-dr", "smollm2")):
        with pytest.raises(ModelFileError, match="has not been downloaded before"):
            resolve(environ, *flags, "--offline")


def from_docker(address: str, environ: dict[str, str], repo: str, offline: bool = False) -> Path:
    return docker.fetch(
        repo,
        offline=offline,
        environ=environ,
        registry=address,
        tokens=f"{address}/token?service=x",
    )


@pytest.mark.parametrize(
    ("repo", "name", "tag"),
    [
        ("smollm2", "ai/smollm2", "latest"),
        ("smollm2:135M-Q4_0", "ai/smollm2", "135M-Q4_0"),
        ("some/model:x", "some/model", "x"),
    ],
)
def test_a_docker_model_is_found_and_checked(
    address: str, environ: dict[str, str], repo: str, name: str, tag: str
) -> None:
    layers = [
        {"mediaType": "application/vnd.docker.ai.license", "digest": "sha256:0"},
        {"mediaType": "application/vnd.docker.ai.gguf.v3", "digest": f"sha256:{DIGEST}"},
    ]
    Handler.bodies |= {
        f"/token?service=x&scope=repository:{name}:pull": b'{"token": "t0ken"}',
        f"/v2/{name}/manifests/{tag}": json.dumps({"layers": layers}).encode(),
        "/elsewhere": GGUF,
    }
    path = from_docker(address, environ, repo)
    assert path.read_bytes() == GGUF
    assert ("/elsewhere", None) in Handler.asked  # the token stays with the registry
    assert from_docker(address, environ, repo, offline=True) == path
    Handler.bodies["/elsewhere"] = b"other"
    path.unlink()
    with pytest.raises(ModelFileError, match="changed on the way"):
        from_docker(address, environ, repo)


@pytest.mark.parametrize("manifest", [b"{}", b'{"layers": []}', b"no", b'{"layers": [{}]}'])
def test_a_docker_image_without_a_model(
    address: str, environ: dict[str, str], manifest: bytes
) -> None:
    Handler.bodies |= {
        "/token?service=x&scope=repository:ai/x:pull": b'{"token": "t0ken"}',
        "/v2/ai/x/manifests/latest": manifest,
    }
    with pytest.raises(ModelFileError, match="no GGUF model x"):
        from_docker(address, environ, "x")


@pytest.mark.parametrize("repo", ["a/b/c", "", "a:b:c", "../x/y"])
def test_a_docker_name_of_another_form(environ: dict[str, str], repo: str) -> None:
    with pytest.raises(ModelFileError, match="a Docker model looks like"):
        docker.fetch(repo, offline=False, environ=environ)


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
