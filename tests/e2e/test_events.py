"""The event stream of a real server: chats that share a beginning, seen by somebody who watches."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx
import pytest

from tests.support.processes import DEADLINE, TARGET, Stream, serving

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


def test_chats_are_seen_and_the_stream_ends_with_the_server() -> None:
    with serving() as server:
        watcher = Watcher(server.url)
        assert watcher.has_snapshot.wait(DEADLINE)
        for end in ("Who are you?", "What is the capital of France?"):
            stream = Stream(server, BEGINNING + end, n_predict=150, ignore_eos=True)
            stream.join()
            assert stream.is_whole
    watcher.join()
    assert watcher.frames[0][0] == "snapshot"
    states = {slot["state"] for slots in watcher.seen("slots") for slot in slots}
    assert "answer" in states
    speeds = [slot["tokens_per_second"] for slots in watcher.seen("slots") for slot in slots]
    assert max(speeds) > 0
    requests = {one["id"]: one for requests in watcher.seen("requests") for one in requests}
    first, second = (requests[id] for id in sorted(requests))
    assert (first["cache"]["result"], first["cache"]["reused"]) == ("new", 0)
    assert second["cache"]["reused"] > 20
    for one in (first, second):
        assert one["queued"] <= one["started"] <= one["first_token"]
    texts = [n["text"] for prefixes in watcher.seen("prefixes") for n in prefixes["nodes"]]
    assert any(text.startswith("Answer in one sentence") for text in texts)
    steps = watcher.seen("steps")
    assert steps[-1]["steps"] > steps[0]["steps"]
    assert steps[-1]["seconds"]["decode"] > 0
