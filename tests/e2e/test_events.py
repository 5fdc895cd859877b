"""The event stream of a real server: chats that share a beginning, seen by somebody who watches."""

from __future__ import annotations

import json
import signal
import threading
from typing import Any

import httpx
import pytest

from tests.support.processes import DEADLINE, TARGET, Stream, serving, wait_until

pytestmark = pytest.mark.skipif(not TARGET.exists(), reason="the demo model is not there")

BEGINNING = "Answer in one sentence, and say nothing that you are not asked. " * 3


class Watcher:
    """Reads the stream in a thread, and keeps every frame."""

    def __init__(self, url: str) -> None:
        self.frames: list[tuple[str, dict[str, Any]]] = []
        self.has_snapshot = threading.Event()
        self._url = url
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        kind = ""
        with httpx.stream("GET", f"{self._url}/v1/events", timeout=DEADLINE) as response:
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    self.frames.append((kind, json.loads(value)))
                    self.has_snapshot.set()

    def join(self) -> None:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()

    def seen(self, section: str) -> list[Any]:
        """Everything that the frames told of a section of the one engine."""
        engines = [frame["engines"] for _, frame in self.frames if "engines" in frame]
        told = [engine for by_name in engines for engine in by_name.values() if engine]
        return [engine[section] for engine in told if section in engine]

    @property
    def slots(self) -> list[dict[str, Any]]:
        """What every frame told of a slot: all its fields at first, then those that changed."""
        return [slot for slots in self.seen("slots") for slot in slots]

    @property
    def texts(self) -> list[str]:
        """How the nodes of the prefix index begin."""
        return [node["text"] for told in self.seen("prefixes") for node in told["nodes"]]

    @property
    def requests(self) -> dict[int, dict[str, Any]]:
        """The requests by id, as the latest frames told of them."""
        known: dict[int, dict[str, Any]] = {}
        for one in (one for requests in self.seen("requests") for one in requests):
            known[one["id"]] = known.get(one["id"], {}) | one
        return known


def test_chats_are_seen_and_the_stream_ends_with_the_server() -> None:
    with serving("--context-shift") as server:
        watcher = Watcher(server.url)
        assert watcher.has_snapshot.wait(DEADLINE)
        for end in ("Who are you?", "What is the capital of France?"):
            Stream(server, BEGINNING + end, n_predict=150, ignore_eos=True).join()
        wait_until(lambda: len(watcher.requests) == 2)
        while not any(slot.get("tokens_per_second") for slot in watcher.slots):
            Stream(server, "Once upon a time", n_predict=4_000, ignore_eos=True).join()
        wait_until(lambda: any("Answer in one" in text for text in watcher.texts))
        server.process.send_signal(signal.SIGTERM)
        watcher.join()
        assert server.process.wait(DEADLINE) == 0
    assert watcher.frames[0][0] == "snapshot"
    assert "answer" in {slot.get("state") for slot in watcher.slots}
    requests = watcher.requests
    first, second = (requests[id] for id in sorted(requests)[:2])
    assert (first["cache"]["result"], first["cache"]["reused"]) == ("new", 0)
    assert second["cache"]["reused"] > 20
    for one in (first, second):
        assert one["queued"] <= one["started"] <= one["first_token"]
    steps = watcher.seen("steps")
    assert steps[-1]["steps"] > steps[0]["steps"]
    assert steps[-1]["seconds"]["decode"] > 0
