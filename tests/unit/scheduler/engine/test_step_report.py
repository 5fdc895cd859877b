"""Reports of steps: made once, by whoever asks first, at the latest when the next step goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from protocol.messages import StepOutputs
from scheduler.core.step import Chunk, PaddingRow
from scheduler.engine.engine import Engine
from scheduler.engine.step_report import StepReport
from tests.support.fake_backend import FakeBackend
from tests.support.scheduling import make_engine, make_request, prompt

OUTPUTS = StepOutputs(1.0, 2.0, [], None, [])


def test_a_report_is_made_when_somebody_asks_and_once() -> None:
    calls: list[int] = []

    def make() -> StepOutputs:
        calls.append(threading.get_ident())
        return OUTPUTS

    report = StepReport(2.0, make)
    assert not calls
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: report.outputs(), range(20)))
    assert all(outputs is OUTPUTS for outputs in found)
    assert len(calls) == 1


def test_who_asks_while_another_thread_makes_a_report_waits() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def make() -> StepOutputs:
        begun.set()
        assert may_end.wait(20)
        return OUTPUTS

    report = StepReport(2.0, make)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(report.outputs)
        assert begun.wait(20)
        second = threads.submit(report.outputs)
        assert not second.done()
        may_end.set()
        assert first.result(20) is second.result(20) is OUTPUTS


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_report_is_settled_once_and_its_outputs_come_first(is_taken: bool) -> None:
    done: list[str] = []

    def make() -> StepOutputs:
        done.append("made")
        return OUTPUTS

    report = StepReport(2.0, make, lambda: done.append("learnt"))
    if is_taken:
        assert report.take() is OUTPUTS
        assert done == ["made"]
        assert not report.is_settled
    report.settle()
    report.settle()
    assert done == ["made", "learnt"]
    assert report.is_settled


class Watched(FakeBackend):
    """Calls something whenever a batch is computed."""

    on_decode: Callable[[], None] = staticmethod(lambda: None)

    def decode(self, chunks: Sequence[Chunk], padding_rows: Sequence[PaddingRow] = ()) -> None:
        self.on_decode()
        super().decode(chunks, padding_rows)


def stream(num_tokens: int) -> tuple[Watched, Engine]:
    backend = Watched(n_slots=2, next_token=lambda tokens: 9)
    engine = make_engine(backend)
    engine.add_request(make_request(1, prompt(5), max_tokens=num_tokens))
    return backend, engine


def test_another_thread_may_make_the_report_while_the_next_step_computes() -> None:
    backend, engine = stream(5)
    made: list[StepOutputs] = []
    report = engine.step()
    with ThreadPoolExecutor(1) as threads:
        backend.on_decode = lambda: made.append(threads.submit(report.outputs).result(20))
        for _ in range(4):
            report = engine.step()
    made.append(report.outputs())
    stats = [outputs.stats for outputs in made]
    assert [one.num_decode_tokens for one in stats if one is not None] == [0, 1, 1, 1, 1]
    assert [len(outputs.events) for outputs in made] == [2, 1, 1, 1, 2]


def test_a_step_goes_on_when_the_report_before_is_made() -> None:
    """Nobody has asked for it: what it learns must not come in the middle of later steps."""
    backend, engine = stream(3)
    first = engine.step()
    made_by: list[str] = []
    make = first._make
    assert make is not None

    def noted() -> StepOutputs:
        made_by.append("made")
        return make()

    first._make = noted
    backend.on_decode = lambda: made_by.append("computed")
    engine.step()
    assert made_by == ["computed", "made"]


def test_the_report_of_a_failed_step_tells_who_ended() -> None:
    backend, engine = stream(5)
    engine.step()
    backend.fail_on = lambda chunks: True
    events = engine.step().outputs().events
    assert [event.request_id for event in events if hasattr(event, "reason")] == [1]
