"""The budget of what clients have not read: who is ended when it is used up."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from protocol.events import Generated, TokenLogprobs
from protocol.sampling import SamplingParams
from server.engine.sequence_stream import SequenceStream
from server.engine.unread_output import IDLE_SECONDS, UnreadBudget, UnreadOutput, current_output
from server.errors import InvalidRequest, Overloaded
from tests.support.requests import add_request

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(clock: Clock) -> UnreadBudget:
    return UnreadBudget(max_each=600, max_in_all=1000, clock=clock)


def sending(output: UnreadOutput, ended: list[UnreadOutput]) -> UnreadOutput:
    output.end_sending = lambda: ended.append(output)
    return output


def test_one_output_is_bounded(budget: UnreadBudget) -> None:
    with budget.open() as output:
        output.add(600)
        output.check()
        output.add(1)
        with pytest.raises(InvalidRequest, match="stream the answer"):
            output.check()
    assert budget.num_bytes == 0


@pytest.mark.parametrize("size", [100, 600, 999])
def test_a_whole_answer_takes_the_place_of_its_parts(budget: UnreadBudget, size: int) -> None:
    ended: list[UnreadOutput] = []
    with budget.open() as output:
        output.add(550)
        sending(output, ended).send_whole(size)
        assert budget.num_bytes == size
        output.remove(size)
        assert (budget.num_bytes, ended) == (0, [])


def test_what_is_read_counts_no_more(budget: UnreadBudget) -> None:
    with budget.open() as output:
        for _ in range(100):
            output.add(500)
            output.remove(500)
        output.check()
        output.add(5)
        assert budget.num_bytes == 5
    assert budget.num_bytes == 0


def test_the_client_that_reads_nothing_gives_way(budget: UnreadBudget, clock: Clock) -> None:
    ended: list[UnreadOutput] = []
    with ExitStack() as stack:
        idle, slow, fresh = (sending(stack.enter_context(budget.open()), ended) for _ in range(3))
        idle.add(300)
        slow.add(500)
        clock.now = IDLE_SECONDS
        slow.remove(1)
        fresh.remove(0)
        fresh.add(400)
        assert ended == [idle]
        assert budget.num_bytes == slow.num_bytes + fresh.num_bytes == 899


@pytest.mark.parametrize("is_sending", [False, True])
def test_without_idle_clients_the_largest_output_gives_way(
    budget: UnreadBudget, is_sending: bool
) -> None:
    ended: list[UnreadOutput] = []
    with ExitStack() as stack:
        small, large, medium = (stack.enter_context(budget.open()) for _ in range(3))
        small.add(100)
        (sending(large, ended) if is_sending else large).add(590)
        sending(medium, ended).add(400)
        with pytest.raises(Overloaded):
            large.check()
        assert ended == ([large] if is_sending else [])
        small.check()
        medium.check()


def test_memory_is_bounded_though_all_read(budget: UnreadBudget) -> None:
    ended: list[UnreadOutput] = []
    with ExitStack() as stack:
        outputs = [sending(stack.enter_context(budget.open()), ended) for _ in range(40)]
        for step in range(2000):
            output = outputs[step * 7 % 40]
            output.add(30)
            output.remove(min(output.num_bytes, step % 25))
            assert budget.num_bytes <= 1000
        assert ended


@pytest.mark.parametrize(
    "event",
    [
        Generated(1, [7], []),
        Generated(1, [7] * 100, []),
        Generated(1, [7], [TokenLogprobs(-1.0, [(5, -0.5)] * 20)]),
    ],
)
async def test_events_that_nobody_takes_end_the_stream(event: Generated) -> None:
    budget = UnreadBudget(max_each=100_000, max_in_all=1_000_000)
    ended: list[UnreadOutput] = []
    with budget.open() as output:
        assert current_output() is output
        sending(output, ended)
        stream = SequenceStream(add_request(1, prompt=[1], sampling=SamplingParams()))
        for _ in range(30):  # the reader keeps up
            stream.push(event, 0.0, 0.0)
            await stream.events()
        assert output.num_bytes == 0
        for _ in range(400):
            stream.push(event, 0.0, 0.0)
        assert ended == [output]
        with pytest.raises(InvalidRequest):
            await stream.events()
