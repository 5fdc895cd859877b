"""A model file is read once, however many requests ask about it at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.catalog.facts import _Reader


@pytest.mark.parametrize("paths", [["a"], ["a", "b", "c"]])
def test_many_threads_cause_one_reading(monkeypatch: pytest.MonkeyPatch, paths: list[str]) -> None:
    read: list[str] = []

    class Inspector:
        def contents(self, path: Path) -> None:
            threading.Event().wait(0.01)
            read.append(str(path))

        def close(self) -> None: ...

    monkeypatch.setattr("server.catalog.facts.Inspector", Inspector)
    reader = _Reader()
    with ThreadPoolExecutor(16) as threads:
        for _ in range(16):
            for path in paths:
                threads.submit(reader.contents, path, 1, 1)
    assert sorted(read) == paths
    reader.contents("a", 1, 2)  # another time
    assert read[-1] == "a"
    assert len(read) == len(paths) + 1
    reader.close()
