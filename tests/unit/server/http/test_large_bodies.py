"""Requests with large bodies compute one after another, and wait for nobody else's process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from anyio import to_thread

from confined.pool import Pace, Pool
from confined.work import Cancelled, Work, current_work, working_for
from server.http.large_bodies import LARGE_BODY, MEDIUM_BODY, SMALL_BODY, Lane, lane_for

PACE = Pace(cpu_seconds=100.0, wall_seconds=100.0)


class Crowd:
    """Counts who computes at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = self.total = 0

    def compute(self) -> None:
        with self._lock:
            self.now += 1
            self.total += 1
            self.most = max(self.most, self.now)
        threading.Event().wait(0.002)
        with self._lock:
            self.now -= 1


class Waiting:
    """A process that answers when all that are expected have asked."""

    def __init__(self, barrier: threading.Barrier) -> None:
        self._barrier = barrier

    def start(self) -> None: ...

    def close(self) -> None: ...

    def ask(self, question: bytes, *, cpu_seconds: float, wall_seconds: float) -> bytes:
        self._barrier.wait(30)
        return question


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a" * SMALL_BODY, 0),
        (b"a" * (SMALL_BODY + 1), 1),
        (b"[" * (SMALL_BODY - 1), 1),  # small, but with many values
        (b"a" * MEDIUM_BODY, 1),
        (b"a" * (MEDIUM_BODY + 1), 2),
        (b"a" * LARGE_BODY, 2),
        (b"a" * (LARGE_BODY + 1), 3),
    ],
)
def test_bodies_of_similar_size_share_a_lane(data: bytes, expected: int) -> None:
    lanes = [lane_for(b"a" * (size + 1)) for size in (SMALL_BODY, MEDIUM_BODY, LARGE_BODY)]
    assert len(set(map(id, lanes))) == 3
    assert lane_for(data) is [None, *lanes][expected]


@pytest.mark.parametrize("count", [2, 8, 20])
def test_one_computes_at_a_time(count: int) -> None:
    lane, crowd = Lane(), Crowd()
    with ThreadPoolExecutor(count) as threads:
        list(threads.map(lambda n: lane.compute(Work(str(n % 3)), crowd.compute), range(count)))
    assert (crowd.most, crowd.total) == (1, count)


def test_others_compute_while_one_waits_for_a_process() -> None:
    lane, crowd = Lane(), Crowd()
    barrier = threading.Barrier(2)
    pool: Pool[bytes] = Pool(lambda niceness: Waiting(barrier), quick=PACE, slow=PACE)

    def prepare(work: Work) -> bytes:
        def call() -> bytes:
            crowd.compute()
            answer = pool.ask(b"a")  # comes only when another has asked too
            crowd.compute()
            return answer

        with working_for(work):
            return lane.compute(work, call)

    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(prepare, Work()) for _ in range(4)]
        assert [answer.result(30) for answer in answers] == [b"a"] * 4
    assert (crowd.most, crowd.total) == (1, 8)


def test_work_that_is_called_off_leaves_the_queue() -> None:
    lane, begun, end = Lane(), threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        end.wait(30)

    def never() -> None:
        raise AssertionError

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(lane.compute, Work(), hold)
        begun.wait(30)
        work = Work()
        second: Future[None] = threads.submit(lane.compute, work, never)
        work.cancel()
        with pytest.raises(Cancelled):
            second.result(30)
        end.set()
        first.result(30)
        assert threads.submit(lane.compute, Work(), lambda: 5).result(30) == 5


def test_work_that_is_called_off_while_it_waits_for_a_process_leaves_the_lane_free() -> None:
    lane, work = Lane(), Work()

    def call() -> None:
        with current_work().aside():
            work.cancel()

    def run() -> None:
        with working_for(work):
            lane.compute(work, call)

    with pytest.raises(Cancelled):
        run()
    assert lane.compute(Work(), lambda: 5) == 5


@pytest.mark.anyio
@pytest.mark.parametrize("count", [2, 10])
async def test_the_loop_and_small_requests_go_on_beside_large_bodies(count: int) -> None:
    """Small requests wait for no lane, and the loop gets its turn between two large bodies."""
    lane, crowd = Lane(), Crowd()
    order: list[str] = []

    def parse(name: str) -> Callable[[], None]:
        def call() -> None:
            crowd.compute()
            asyncio.run_coroutine_threadsafe(noted(name), loop).result(30)

        return call

    async def noted(name: str) -> None:
        order.append(name)
        await to_thread.run_sync(order.append, "small")

    loop = asyncio.get_running_loop()
    await asyncio.gather(*(lane.run("", parse("large")) for _ in range(count)))
    assert order == ["large", "small"] * count
    assert crowd.most == 1
