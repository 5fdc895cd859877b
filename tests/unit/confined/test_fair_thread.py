"""A thread whose jobs come in turns of their owners, and are called off before they begin."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial

import pytest

from confined.fair_thread import FairThread


@contextmanager
def busy(thread: FairThread) -> Iterator[None]:
    """The thread has a job until the block ends."""
    begun, end = threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        end.wait(30)

    done = thread.submit("busy", job)
    assert begun.wait(30)
    try:
        yield
    finally:
        end.set()
    done.result(30)


@pytest.fixture
def thread() -> Iterator[FairThread]:
    thread = FairThread("jobs")
    yield thread
    thread.close()


@pytest.mark.parametrize(
    ("jobs", "order"),
    [
        ("a1 a2 a3", "a1 a2 a3"),
        ("a1 a2 a3 a4 b1", "a1 b1 a2 a3 a4"),
        ("a1 a2 b1 b2 c1", "a1 b1 c1 a2 b2"),
    ],
)
def test_owners_take_turns(thread: FairThread, jobs: str, order: str) -> None:
    done: list[str] = []
    with busy(thread):
        results = [thread.submit(job[0], partial(done.append, job)) for job in jobs.split()]
    for result in results:
        result.result(30)
    assert done == order.split()


@pytest.mark.parametrize("cancelled", ["a1", "a1 a2", "a2 b1", "a1 a2 b1"])
def test_a_job_that_is_called_off_takes_no_turn(thread: FairThread, cancelled: str) -> None:
    done: list[str] = []
    with busy(thread):
        jobs = {
            job: thread.submit(job[0], partial(done.append, job))
            for job in ["a1", "a2", "a3", "b1", "b2"]
        }
        for job in cancelled.split():
            assert jobs[job].cancel()
        assert thread.num_waiting == 5 - len(cancelled.split())
    left = [result for result in jobs.values() if not result.cancelled()]
    for result in left:
        result.result(30)
    assert sorted(done) == sorted(set(jobs) - set(cancelled.split()))


def test_a_job_that_is_called_off_is_not_kept(thread: FairThread) -> None:
    class Large:
        def job(self) -> None:
            """Do nothing."""

    large = Large()
    kept = weakref.ref(large)
    with busy(thread):
        thread.submit("a", large.job).cancel()
        del large
        gc.collect()
        assert kept() is None


def fails() -> None:
    raise ValueError("no such thing")


@pytest.mark.parametrize("num_fails", [1, 3])
def test_a_job_that_fails_ends_nothing_else(thread: FairThread, num_fails: int) -> None:
    results: list[Future[None]] = [thread.submit("a", fails) for _ in range(num_fails)]
    for result in results:
        with pytest.raises(ValueError, match="no such thing"):
            result.result(30)
    assert thread.submit("a", lambda: 5).result(30) == 5


@pytest.mark.parametrize("num_waiting", [0, 1, 4])
def test_closing_waits_for_the_job_that_has_begun_alone(num_waiting: int) -> None:
    thread = FairThread("jobs")
    begun, end, done = threading.Event(), threading.Event(), list[str]()

    def job(name: str) -> None:
        begun.set()
        end.wait(30)
        done.append(name)

    first = thread.submit("a", partial(job, "first"))
    assert begun.wait(30)
    others = [thread.submit("a", partial(job, "other")) for _ in range(num_waiting)]
    close: Callable[[], None] = thread.close
    closing = threading.Thread(target=close)
    closing.start()
    while not all(other.cancelled() for other in others):
        pass
    end.set()
    closing.join(30)
    assert (first.done(), done) == (True, ["first"])


@pytest.mark.parametrize(
    ("jobs", "blocked", "order"),
    [
        ("a1 a2 b1", "a", "b1 a1 a2"),
        ("a1 b1 c1 b2", "ab", "c1 a1 b1 b2"),
        ("a1 a2 b1 c1", "", "a1 b1 c1 a2"),
    ],
)
def test_a_job_that_may_not_begin_stops_no_other(
    thread: FairThread, jobs: str, blocked: str, order: str
) -> None:
    done: list[str] = []
    may_all_begin = threading.Event()

    def may_begin(owner: str) -> bool:
        return owner not in blocked or may_all_begin.is_set()

    with busy(thread):
        results = {
            job: thread.submit(job[0], partial(done.append, job), partial(may_begin, job[0]))
            for job in jobs.split()
        }
    for job, result in results.items():
        if job[0] not in blocked:
            result.result(30)
    assert not any(results[job].done() for job in results if job[0] in blocked)
    may_all_begin.set()
    for result in results.values():
        result.result(30)
    assert done == order.split()


@pytest.mark.parametrize("value", ["a result", 5])
def test_what_has_come_dies_with_the_last_who_wants_it(thread: FairThread, value: object) -> None:
    class Result:
        def __init__(self) -> None:
            self.value = value

    result = thread.submit("a", Result).result(30)
    died = threading.Event()
    weakref.finalize(result, died.set)
    gc.disable()
    try:
        del result
        assert died.wait(30)
    finally:
        gc.enable()
