"""The engine's loop between its inbox and its outbox."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from protocol.commands import Command, Shutdown
from protocol.messages import Message, StepOutputs
from scheduler.engine.channel import CommandChannel
from scheduler.engine.loop import run
from tests.support.fake_backend import FakeBackend
from tests.support.scheduling import make_engine, make_request, prompt


class Inbox:
    """A channel that hands out one command at a time, and keeps what is sent."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self._commands = iter(commands)
        self.sent: list[Message] = []

    def receive(self, wait: float) -> list[Command]:
        return [next(self._commands)]

    def send(self, message: Message) -> None:
        self.sent.append(message)


def num_running(*commands: Command) -> list[int]:
    """How many sequences ran in each step."""
    inbox = Inbox([*commands, Shutdown()])
    run(make_engine(FakeBackend(n_slots=4)), cast(CommandChannel, inbox))
    steps = (message for message in inbox.sent if isinstance(message, StepOutputs))
    return [step.stats.num_running for step in steps if step.stats is not None]


def test_sequences_that_come_together_start_together() -> None:
    first, second = prompt(5, 0), prompt(5, 1)
    together = make_request(1, first, num_requests_being_read=1), make_request(2, second)
    assert num_running(*together) == [2]
    assert num_running(make_request(1, first), make_request(2, second)) == [1, 2]
