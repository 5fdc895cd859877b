"""The page's machine room and models view in a real browser, with axe on every view.

The scenarios are in `ui/e2e/room.mjs`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.browser import needs_browser, play
from tests.support.local_hub import environment, gguf_bytes, local_hub
from tests.support.processes import DEADLINE, TARGET, Server, serving
from tests.support.scripted_servers import KillableServer

pytestmark = [
    needs_browser,
    pytest.mark.skipif(not TARGET.exists(), reason="the demo model is not there"),
]

ADMIN, NAMES = "the-admins-key", ("alice", "bob")
KEYS = f'[keys.ops]\nkey = "{ADMIN}"\nadmin = true\n' + "".join(
    f'[keys.{name}]\nkey = "{name}s-key"\n' for name in NAMES
)
SYSTEM = "You answer in one sentence, and say so when you do not know something."


class Traffic:
    """Chats of two keys, one after the other in each thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._chat, args=(number,), daemon=True) for number in range(4)
        ]
        for thread in self._threads:
            thread.start()

    def _chat(self, number: int) -> None:
        turn = 0
        while not self._is_over.is_set():
            turn += 1
            messages = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": f"What is {number} + {turn}?"},
            ]
            body = {"messages": messages, "max_tokens": 60, "ignore_eos": True}
            headers = {"X-Api-Key": f"{NAMES[number % 2]}s-key"}
            httpx.post(
                f"{self._url}/v1/chat/completions", json=body, headers=headers, timeout=DEADLINE
            )

    def end(self) -> None:
        """Let the last chats end."""
        self._is_over.set()
        for thread in self._threads:
            thread.join(DEADLINE)


@contextmanager
def busy(keys: Path) -> Iterator[Server]:
    """A server with keys that computes answers all the time."""
    keys.write_text(KEYS)
    with serving("--api-keys-toml", str(keys), "--alias", "demo") as server:
        traffic = Traffic(server.url)
        try:
            yield server
        finally:
            traffic.end()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with busy(tmp_path_factory.mktemp("room") / "keys.toml") as server:
        yield server.url


@pytest.mark.parametrize(
    "scenario",
    [
        "room_at_work",
        "room_looks",
        "room_pause",
        "room_closes_its_stream",
        "room_wants_rights",
        "models_of_one",
    ],
)
def test_with_a_busy_server(server: str, scenario: str) -> None:
    options = {
        "key": ADMIN,
        "weak": "alices-key",
        "names": NAMES,
        "text": "answer in one",
        "model": "demo",
    }
    play(scenario, server, options=options)


def test_a_server_without_the_room_says_so() -> None:
    with serving("--no-slots") as server:
        play("room_is_off", server.url)


def test_models_are_loaded_and_unloaded() -> None:
    folder = str(TARGET.parent)
    flags = ("--models-dir", folder, "--pull-hosts", "none")
    with serving(*flags, has_one_model=False) as server:
        play("models_of_many", server.url, options={"model": TARGET.stem})


def test_a_download_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with local_hub() as hub:
        hub.repos["user/repo"] = {"m-Q8_0.gguf": gguf_bytes(50_000_000)}
        hub.piece_seconds = 0.2
        for name, value in environment(hub, tmp_path).items():
            monkeypatch.setenv(name, value)
        flags = ("--models-dir", str(TARGET.parent))
        hosts = ("--pull-hosts", hub.content_url.removeprefix("http://"))
        with serving(*flags, *hosts, has_one_model=False) as server:
            play("cancel_a_download", server.url, options={"model": "user/repo:Q8_0"})
        assert not [path for path in tmp_path.rglob("*.gguf") if path.is_file()]


def test_a_lost_connection_comes_back() -> None:
    with KillableServer() as server:
        play("room_lost", server.url, outside=server.do)
