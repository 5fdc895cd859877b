"""Threads that no request has to start."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from functools import partial

import pytest
from anyio import to_thread

from grammars.deep_stack import DeepThreads
from server.assembly.standing_threads import start_threads

pytestmark = pytest.mark.anyio


def _no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


async def test_requests_are_prepared_where_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await start_threads()
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    hours = itertools.count(1)
    later = staticmethod(lambda: time.monotonic() + 3600 * next(hours))
    monkeypatch.setattr("anyio._backends._asyncio.AsyncIOBackend.current_time", later)
    for _ in range(2):
        all_at_once = threading.Barrier(40, timeout=60)
        jobs = (to_thread.run_sync(all_at_once.wait) for _ in range(40))
        assert sorted(await asyncio.gather(*jobs)) == list(range(40))


def test_deep_calls_need_no_new_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = DeepThreads(2, "deep")
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    assert [threads.call(partial(pow, n, 2)) for n in range(5)] == [0, 1, 4, 9, 16]
    with pytest.raises(ZeroDivisionError):
        threads.call(lambda: 1 // 0)
    assert threads.call(lambda: "still there") == "still there"
