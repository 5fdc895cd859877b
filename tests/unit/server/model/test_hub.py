"""Models from a hub: the chosen file, what is downloaded again, and the error messages."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import pytest

from config import load_settings
from server.model import hub
from server.model.files import resolve_draft, resolve_model
from server.startup import ModelFileError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_right"
Fetch = Callable[..., Path]


@dataclass
class StandInHub:
    """The files of the fake hub, and the requests it received."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    broken_status: int | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def downloads(self) -> list[str]:
        """The names of the files whose content was requested."""
        asked = [path for method, path in self.requests if method == "GET"]
        return [path.rpartition("/")[2] for path in asked if "/resolve/" in path]


class Handler(BaseHTTPRequestHandler):
    """The hub's routes for the list of a repository and for its files."""

    hub: ClassVar[StandInHub]

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the tests' output clean."""

    def _answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        repo = "/".join(path.removeprefix("/api/models").strip("/").split("/")[:2])
        if self.hub.broken_status is not None:
            self._send(self.hub.broken_status, b"", {})
        elif repo not in self.hub.repos or not self._may_see(repo):
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif repo in self.hub.gated:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif path.startswith("/api/models/"):
            self._send(200, self._listing(repo), {"Content-Type": "application/json"}, with_body)
        else:
            self._send_file(repo, path.partition("/resolve/main/")[2], with_body)

    def _may_see(self, repo: str) -> bool:
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        return repo not in self.hub.private or allowed

    def _listing(self, repo: str) -> bytes:
        names = [{"rfilename": name} for name in sorted(self.hub.repos[repo])]
        return json.dumps({"id": repo, "sha": COMMIT, "siblings": names}).encode()

    def _send_file(self, repo: str, name: str, with_body: bool) -> None:
        content = self.hub.repos[repo][name]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{sha256(content).hexdigest()}"'}
        self._send(200, content, headers, with_body)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], with_body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the developer's own settings of huggingface_hub and proxies out of the tests."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def stand_in() -> Iterator[StandInHub]:
    state = StandInHub()
    handler = type("BoundHandler", (Handler,), {"hub": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def fetch(stand_in: StandInHub, tmp_path: Path) -> Fetch:
    return partial(hub.fetch, endpoint=stand_in.url, cache=tmp_path)


def files(*names: str) -> dict[str, bytes]:
    return {name: f"content of {name}".encode() for name in names}


@pytest.mark.parametrize(
    ("repo", "taken"),
    [
        ("u/r", "m-Q4_K_M.gguf"),
        ("u/r:latest", "m-Q4_K_M.gguf"),
        ("u/r:q8_0", "m-Q8_0.gguf"),
        ("u/r:Q5_K", "sub/m.Q5_K.gguf"),
        ("u/only-q8", "m-Q8_0.gguf"),
        ("u/neither", "a-F16.gguf"),
    ],
)
def test_the_quantization_picks_the_file(
    fetch: Fetch, stand_in: StandInHub, repo: str, taken: str
) -> None:
    stand_in.repos = {
        "u/r": files(
            "README.md",
            "imatrix-Q4_K_M.gguf",
            "m-Q4_K_M.gguf",
            "m-Q8_0.gguf",
            "mmproj-m-Q8_0.gguf",
            "sub/m.Q5_K.gguf",
        ),
        "u/only-q8": files("m-F16.gguf", "m-Q8_0.gguf"),
        "u/neither": files("mmproj-a.gguf", "a-F16.gguf", "b-F32.gguf"),
    }
    path = fetch(repo)
    assert path.read_bytes() == f"content of {taken}".encode()
    assert stand_in.downloads() == [taken.rpartition("/")[2]]


def test_a_named_file_beats_the_quantization(fetch: Fetch, stand_in: StandInHub) -> None:
    stand_in.repos["u/r"] = files("m-Q4_K_M.gguf", "m-F16.gguf")
    assert fetch("u/r:Q4_K_M", file="m-F16.gguf").name == "m-F16.gguf"


def test_all_files_of_a_split_model_are_fetched(fetch: Fetch, stand_in: StandInHub) -> None:
    parts = [f"q4/m-Q4_K_M-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    stand_in.repos["u/r"] = files(*parts, "m-Q8_0.gguf")
    path = fetch("u/r")
    assert path.name == "m-Q4_K_M-00001-of-00003.gguf"
    assert all((path.parent.parent / part).read_bytes() for part in parts)
    assert len(stand_in.downloads()) == 3


def test_an_incomplete_split_model_names_the_missing_part(
    fetch: Fetch, stand_in: StandInHub
) -> None:
    stand_in.repos["u/r"] = files("m-Q4_K_M-00001-of-00002.gguf")
    with pytest.raises(ModelFileError, match=r"u/r lacks m-Q4_K_M-00002-of-00002\.gguf"):
        fetch("u/r")


def test_a_downloaded_model_is_not_fetched_again(fetch: Fetch, stand_in: StandInHub) -> None:
    stand_in.repos["u/r"] = files("m.gguf")
    assert fetch("u/r") == fetch("u/r")
    assert stand_in.downloads() == ["m.gguf"]


def test_offline_uses_the_cache_and_asks_nobody(fetch: Fetch, stand_in: StandInHub) -> None:
    stand_in.repos["u/r"] = files("m-Q4_K_M.gguf")
    first = fetch("u/r")
    stand_in.requests.clear()
    assert fetch("u/r", offline=True) == first
    assert stand_in.requests == []


def test_offline_counts_only_what_was_downloaded(fetch: Fetch, stand_in: StandInHub) -> None:
    stand_in.repos["u/r"] = files("m-Q4_K_M.gguf", "m-Q8_0.gguf")
    fetch("u/r")
    with pytest.raises(ModelFileError, match=r"the downloaded part of u/r has no .*Q8_0; there a"):
        fetch("u/r:Q8_0", offline=True)


def test_offline_without_the_model_says_so(fetch: Fetch, stand_in: StandInHub) -> None:
    with pytest.raises(ModelFileError, match="--offline is set, and u/r has not been downloaded"):
        fetch("u/r", offline=True)


@pytest.mark.parametrize("status", [500, 503])
def test_a_hub_that_is_down_is_no_matter_for_a_cached_model(
    fetch: Fetch, stand_in: StandInHub, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.repos["u/r"] = files("m.gguf")
    first = fetch("u/r")
    stand_in.broken_status = status
    assert fetch("u/r") == first
    assert "using the files downloaded before" in capsys.readouterr().err


def test_a_hub_that_is_down_is_named(fetch: Fetch, stand_in: StandInHub) -> None:
    stand_in.broken_status = 500
    with pytest.raises(ModelFileError, match=rf"can't reach the hub {stand_in.url} \(status 500\)"):
        fetch("u/r")


def test_a_hub_that_does_not_exist_is_named(fetch: Fetch) -> None:
    with pytest.raises(ModelFileError, match=r"can't reach the hub http://127\.0\.0\.1:1 "):
        fetch("u/r", endpoint="http://127.0.0.1:1")


def test_a_private_repository_opens_with_the_token(fetch: Fetch, stand_in: StandInHub) -> None:
    stand_in.repos["u/r"] = files("m.gguf")
    stand_in.private.add("u/r")
    with pytest.raises(ModelFileError, match=r"no repository u/r .* needs --hf-token") as caught:
        fetch("u/r", token="hf_wrong")
    assert "hf_wrong" not in str(caught.value)
    assert fetch("u/r", token=f"{TOKEN}\n").name == "m.gguf"


def test_a_damaged_token_is_refused_and_not_shown(fetch: Fetch) -> None:
    with pytest.raises(ModelFileError, match="the Hugging Face token") as caught:
        fetch("u/r", token="hf_secret\nhf_other")
    assert "hf_secret" not in str(caught.value)


def test_a_gated_repository_says_what_to_do(fetch: Fetch, stand_in: StandInHub) -> None:
    stand_in.repos["u/r"] = files("m.gguf")
    stand_in.gated.add("u/r")
    with pytest.raises(ModelFileError, match="u/r is gated: accept its terms at"):
        fetch("u/r")


@pytest.mark.parametrize(
    ("repo", "options", "message"),
    [
        ("u/r:Q2_K", {}, r"u/r has no model with quantization Q2_K; there are m-Q8_0\.gguf"),
        ("u/r", {"file": "x.gguf"}, r"there is no file x\.gguf in u/r; there are m-Q8_0\.gguf"),
        ("u/none", {}, "u/none has no GGUF model"),
        ("u/missing", {}, "there is no repository u/missing at"),
        ("just-a-name", {}, "a repository looks like user/repo"),
        ("a/b/c", {}, "a repository looks like user/repo"),
        ("u/--", {}, "u/--"),
    ],
)
def test_failures_are_one_clear_line(
    fetch: Fetch, stand_in: StandInHub, repo: str, options: dict[str, str], message: str
) -> None:
    stand_in.repos = {"u/r": files("m-Q8_0.gguf"), "u/none": files("README.md")}
    with pytest.raises(ModelFileError, match=message) as caught:
        fetch(repo, **options)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_no_hub_is_told_apart(
    fetch: Fetch, stand_in: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.repos["u/r"] = {}
    monkeypatch.setattr(Handler, "_listing", lambda self, repo: b"<html>hello</html>")
    with pytest.raises(ModelFileError, match="doesn't answer like a hub"):
        fetch("u/r")


def test_a_cache_that_cannot_be_written_is_named(
    fetch: Fetch, stand_in: StandInHub, tmp_path: Path
) -> None:
    stand_in.repos["u/r"] = files("m.gguf")
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(ModelFileError, match=f"fetching u/r into {blocked} failed"):
        fetch("u/r", cache=blocked)


def test_the_settings_and_hf_endpoint_lead_to_the_hub(
    stand_in: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.repos["u/r"] = files("m.gguf")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    settings = load_settings(["-hf", "u/r"], {})
    # The fake's file isn't a GGUF file; the server notices after the download.
    with pytest.raises(ModelFileError, match=r"m\.gguf is not a GGUF file"):
        resolve_model(settings, {"HF_ENDPOINT": stand_in.url + "/"})
    assert stand_in.downloads() == ["m.gguf"]


def test_the_draft_model_comes_from_the_hub_too(
    stand_in: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.repos["u/r"] = files("a.gguf", "b.gguf")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    settings = load_settings(["-hfd", "u/r", "-md", "b.gguf"], {})
    with pytest.raises(ModelFileError, match=r"draft model: .*b\.gguf is not a GGUF file"):
        resolve_draft(settings, {"HF_ENDPOINT": stand_in.url + "/"})
    assert stand_in.downloads() == ["b.gguf"]
