"""What observers of an answer are told, and in which order."""

from __future__ import annotations

import pytest

from protocol.commands import SequenceSpec
from protocol.sampling import SamplingParams
from server.errors import EngineFailed, Forbidden, Overloaded
from server.generation.observed_generator import ObservedGenerator
from server.generation.types import Ended, GenerationRequest, TextDelta
from tests.support.fake_server import ScriptedGenerator

pytestmark = pytest.mark.anyio


class Log:
    """Observers that write down what they are told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.requests: list[GenerationRequest] = []

    def observe(self, request: GenerationRequest) -> Log:
        self.lines.append("made")
        self.requests.append(request)
        return self

    def opened(self) -> None:
        self.lines.append("opened")

    def delta(self, delta: TextDelta, now: float) -> None:
        self.lines.append(delta.text)

    def ended(self, ended: Ended, now: float) -> None:
        self.lines.append(ended.cause)

    def failed(self, error: Exception) -> None:
        self.lines.append(f"failed: {error}")

    def closed(self, error: Exception | None) -> None:
        self.lines.append("closed" if error is None else f"closed: {error}")


REQUEST = GenerationRequest(spec=SequenceSpec(prompt=(1,), sampling=SamplingParams()))


async def read(generator: ObservedGenerator, most: int = 100) -> None:
    async with generator.open(REQUEST) as items:
        async for _ in items:
            most -= 1
            if not most:
                return


async def test_all_observers_see_the_whole_answer() -> None:
    logs = Log(), Log()
    inner = ScriptedGenerator(pieces=["a", "b"])
    await read(ObservedGenerator(inner, [logs[0].observe]).observed_by(logs[1].observe))
    for log in logs:
        assert log.lines == ["made", "opened", "a", "b", "eos", "closed"]


async def test_a_refused_answer_is_closed_unopened() -> None:
    log = Log()
    inner = ScriptedGenerator(fail_on_open=Overloaded("full", retry_after=1))
    with pytest.raises(Overloaded):
        await read(ObservedGenerator(inner, [log.observe]))
    assert log.lines == ["made", "closed: full"]


async def test_a_failure_is_told_before_the_end() -> None:
    log = Log()
    inner = ScriptedGenerator(fail_after=(1, EngineFailed("broken")))
    with pytest.raises(EngineFailed):
        await read(ObservedGenerator(inner, [log.observe]))
    assert log.lines == ["made", "opened", "Hello", "failed: broken", "closed: broken"]


async def test_an_answer_that_is_left_early_is_closed() -> None:
    log = Log()
    await read(ObservedGenerator(ScriptedGenerator(), [log.observe]), most=1)
    assert log.lines == ["made", "opened", "Hello", "closed"]


async def test_a_request_is_changed_before_it_is_observed() -> None:
    log, inner = Log(), ScriptedGenerator()
    generator = ObservedGenerator(inner)
    await read(generator.observed_by(log.observe, lambda r: r.with_spec(tenant="alice")))
    assert [request.spec.tenant for request in log.requests] == ["alice"]
    assert [request.spec.tenant for request in inner.opened] == ["alice"]


async def test_a_request_that_may_not_be_is_neither_observed_nor_queued() -> None:
    log, inner = Log(), ScriptedGenerator()

    def refuse(request: GenerationRequest) -> GenerationRequest:
        raise Forbidden("no")

    with pytest.raises(Forbidden):
        await read(ObservedGenerator(inner).observed_by(log.observe, refuse))
    assert (log.lines, inner.opened) == ([], [])
