"""Rows that are sampled in threads: answers are the same, and errors end their own sequence."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from protocol.commands import AddRequest
from protocol.events import FinishReason
from scheduler.backends.base import Preparation, SamplerError
from scheduler.core.results import Sample
from scheduler.engine.sampling_threads import SamplingThreads
from tests.support.fake_backend import FakeSampler
from tests.support.late_masks import LateMasks
from tests.support.scheduling import (
    CountedSampler,
    CountingBackend,
    alone,
    check_integrity,
    make_engine,
    make_request,
    prompt,
    run,
    seldom_ending,
)


@pytest.fixture(params=[0, 1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[SamplingThreads]:
    threads = SamplingThreads(request.param)
    yield threads
    threads.close()


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_each_task_is_done_once(threads: SamplingThreads, count: int) -> None:
    done: list[int] = []
    for _ in range(20):
        done.clear()
        threads.run([partial(done.append, number) for number in range(count)])
        assert sorted(done) == list(range(count))


def test_tasks_run_at_the_same_time() -> None:
    threads = SamplingThreads(2)
    barrier = threading.Barrier(3, timeout=60)

    def meet() -> None:
        barrier.wait()

    threads.run([meet, meet], meet)
    threads.close()


def test_an_error_is_raised_when_all_tasks_have_ended(threads: SamplingThreads) -> None:
    done: list[int] = []

    def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        threads.run([fail, partial(done.append, 1), partial(done.append, 2)])
    assert sorted(done) == [1, 2]
    with pytest.raises(ValueError, match="broken"):
        threads.run([partial(done.append, 3)], fail)
    threads.run([partial(done.append, 4)])
    assert sorted(done) == [1, 2, 3, 4]


@dataclass
class BreakingSampler(CountedSampler):
    """Can't sample the third token."""

    num_sampled: int = 0

    def sample(self, row: int) -> Sample | None:
        if self.num_sampled == 2:
            raise SamplerError("no third token")
        sample = super().sample(row)
        self.num_sampled += sample is not None
        return sample


class BreakingBackend(CountingBackend):
    """Breaks the samplers of requests whose number is divisible by 4."""

    def sampler(self, request: AddRequest, prepared: Preparation | None = None) -> FakeSampler:
        if request.request_id % 4:
            return super().sampler(request)
        self.open_samplers += 1
        return BreakingSampler(self, request)


@pytest.mark.parametrize("num_threads", [1, 2, 4])
@pytest.mark.parametrize("period", [1, 2, 3])
def test_threads_change_no_answer(num_threads: int, period: int) -> None:
    backend = BreakingBackend(
        n_slots=8,
        n_ctx_slot=128,
        next_token=seldom_ending,
        num_sampling_threads=num_threads,
        is_heavy=lambda request: request.request_id % period == 0,
        is_masked=lambda request: request.request_id % 3 == 1,
    )
    engine = make_engine(backend, masks=LateMasks([0, 2, 1]))
    requests = [make_request(number, prompt(7, number), max_tokens=20) for number in range(1, 12)]
    outcomes = run(engine, *requests)
    for request in requests:
        outcome = outcomes[request.request_id]
        if request.request_id % 4 == 0:
            assert outcome.reasons == [FinishReason.FAILED]
            assert outcome.message == "no third token"
            assert len(outcome.tokens) == 2
        else:
            assert outcome.answer == alone(request, backend).answer
    check_integrity(engine, backend)
    assert backend.open_samplers == 0
    assert (backend.num_surveyed > 0) == (period > 1)
    engine.samplers.close()
