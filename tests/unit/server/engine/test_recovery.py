"""Which streams are suspected of an engine's death, and when each goes to the next engine."""

from __future__ import annotations

import pytest

from protocol.events import Generated, Started
from protocol.sampling import SamplingParams
from server.engine.recovery import MAX_DEATHS, Recovery
from server.engine.sequence_stream import SequenceStream
from tests.support.requests import add_request


class World:
    """Some streams and an engine that does what the test says."""

    def __init__(self, count: int) -> None:
        self.streams = [self._stream(number) for number in range(count)]
        self.given_up: list[SequenceStream] = []
        self.recovery = Recovery()

    def _stream(self, number: int) -> SequenceStream:
        sampling = SamplingParams(temperature=0.0)
        return SequenceStream(add_request(request_id=number, prompt=[1], sampling=sampling))

    def submit(self) -> list[int]:
        """The numbers of the streams that go to the engine now."""
        due = self.recovery.next(self.streams)
        for stream in due:
            stream.is_submitted = True
        return [stream.request.request_id for stream in due]

    def run(self, *numbers: int, tokens: int = 1) -> None:
        """The engine starts these and generates `tokens` tokens for each."""
        for number in numbers:
            self.streams[number].push(Started(number, 0, 0), 0, 0)
            if tokens:
                self.streams[number].push(Generated(number, [7] * tokens, []), 0, 0)

    def die(self) -> list[int]:
        """The numbers of the streams that are given up."""
        guilty = self.recovery.engine_died(self.streams)
        self.streams = [stream for stream in self.streams if stream not in guilty]
        return [stream.request.request_id for stream in guilty]


def test_everybody_goes_to_the_first_engine() -> None:
    world = World(3)
    assert world.submit() == [0, 1, 2]
    assert world.recovery.is_over


def test_those_that_ran_come_back_one_at_a_time_and_then_the_others() -> None:
    world = World(4)
    world.submit()
    world.run(0, 1)
    assert world.die() == []
    assert world.submit() == [0]
    assert world.submit() == []  # it has to show first that it does no harm
    world.run(0)
    assert world.submit() == [1]
    assert not world.recovery.is_over
    world.run(1)
    assert world.submit() == [2, 3]
    assert world.recovery.is_over


def test_the_one_whose_turn_it_was_is_to_blame() -> None:
    world = World(3)
    world.submit()
    world.run(0, 1, 2, tokens=0)
    assert world.die() == []
    assert world.submit() == [0]
    world.run(0)
    assert world.submit() == [1]
    world.run(1, tokens=0)
    assert world.die() == [1]
    assert world.submit() == [0]


def test_an_engine_that_dies_without_a_word_is_blamed_on_all_that_it_had() -> None:
    world = World(2)
    world.submit()
    assert world.die() == []
    assert world.submit() == [0]
    assert world.die() == [0]
    assert world.submit() == [1]


def test_who_leaves_on_trial_makes_room_for_the_next() -> None:
    world = World(2)
    world.submit()
    world.run(0, 1)
    world.die()
    assert world.submit() == [0]
    del world.streams[0]
    assert world.submit() == [1]


def test_a_suspect_whose_turn_had_not_come_stays_one() -> None:
    world = World(3)
    world.submit()
    world.run(0, 1, 2)
    world.die()
    world.submit()
    world.run(0)
    assert world.die() == []
    assert world.submit() == [0]
    world.run(0)
    assert world.submit() == [1]
    world.run(1)
    assert world.submit() == [2]


def test_no_one_is_tried_for_ever() -> None:
    world = World(1)
    for _ in range(MAX_DEATHS - 1):
        world.submit()
        world.run(0)
        assert world.die() == []
    world.submit()
    world.run(0)
    assert world.die() == [0]


@pytest.mark.parametrize("num_innocent", [1, 3, 7])
@pytest.mark.parametrize("patience", [1, 3, 40, 150])
@pytest.mark.parametrize("culprit", [0, 1])
def test_one_that_kills_after_some_tokens_is_given_up_alone(
    num_innocent: int, patience: int, culprit: int
) -> None:
    """All who run get a token in each step, and the culprit's engine dies at its `patience`th."""
    world = World(num_innocent + 1)
    given_up: list[int] = []
    for _ in range(MAX_DEATHS * (num_innocent + 1)):
        running: list[int] = []
        num_steps = 0
        while num_steps < patience:
            running += world.submit()
            world.run(*(number for number in running if number not in given_up))
            num_steps += culprit in running
        given_up += world.die()
        if given_up:
            break
    assert given_up == [culprit]


def test_what_kills_after_many_tokens_is_not_tried_for_ever() -> None:
    world = World(3)
    for _ in range(MAX_DEATHS):
        while not world.recovery.is_over or not world.streams[0].is_submitted:
            world.run(*world.submit(), tokens=1000)
        given_up = world.die()
        if given_up:
            break
    assert given_up
