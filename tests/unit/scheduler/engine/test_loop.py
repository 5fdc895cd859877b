"""The engine's loop between its inbox and its outbox."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

from protocol.commands import Abort, Command, Shutdown
from protocol.events import Generated
from protocol.messages import Message, StepOutputs
from scheduler.core.step import Chunk, PaddingRow
from scheduler.engine.channel import CommandChannel
from scheduler.engine.loop import run
from scheduler.engine.outbox import Kept, nothing
from tests.support.fake_backend import FakeBackend
from tests.support.late_masks import LateMasks
from tests.support.scheduling import make_engine, make_request, prompt


class Inbox:
    """A channel that hands out one command at a time, and keeps what is sent."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self._commands = iter(commands)
        self.sent: list[Message] = []
        self.kept: list[tuple[Kept, Callable[[], None]]] = []

    def receive(self, wait: float) -> list[Command]:
        if wait > 0:
            self.flush()
        return [next(self._commands)]

    def send(self, message: Message) -> None:
        self.flush()
        self.sent.append(message)

    def keep(self, message: Kept, then: Callable[[], None] = nothing) -> None:
        self.kept.append((message, then))

    def flush(self) -> None:
        for kept, then in self.kept:
            self.sent.append(kept() if callable(kept) else kept)
            then()
        self.kept.clear()

    send_kept = flush


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


class Log(FakeBackend):
    """Notes what an inbox has sent whenever a batch begins."""

    def watch(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.seen: list[list[int]] = []

    def decode(self, chunks: Sequence[Chunk], padding_rows: Sequence[PaddingRow] = ()) -> None:
        self.seen.append(generated(self.inbox.sent))
        super().decode(chunks, padding_rows)


def generated(messages: list[Message]) -> list[int]:
    """The requests that got tokens, in order."""
    steps = (message for message in messages if isinstance(message, StepOutputs))
    return [e.request_id for step in steps for e in step.events if isinstance(e, Generated)]


def test_outputs_go_out_before_the_next_step_computes() -> None:
    backend = Log(n_slots=2, next_token=lambda tokens: 9)
    inbox = Inbox([make_request(1, prompt(5), max_tokens=3), *[Abort([99])] * 3, Shutdown()])
    backend.watch(inbox)
    run(make_engine(backend), cast(CommandChannel, inbox))
    assert backend.seen == [[], [1], [1, 1]]
    assert generated(inbox.sent) == [1, 1, 1]
    assert not inbox.kept


def test_the_outputs_of_the_last_step_do_not_wait() -> None:
    inbox = Inbox([make_request(1, prompt(5), max_tokens=1), Abort([99]), Abort([99]), Shutdown()])
    run(make_engine(FakeBackend()), cast(CommandChannel, inbox))
    names = [type(message).__name__ for message in inbox.sent]
    assert names[:3] == ["AddingRequest", "StepOutputs", "StepOutputs"]
    assert generated(inbox.sent) == [1]


def test_shutdown_sends_what_is_kept() -> None:
    inbox = Inbox([make_request(1, prompt(5)), Shutdown()])
    run(make_engine(FakeBackend(next_token=lambda tokens: 9)), cast(CommandChannel, inbox))
    assert generated(inbox.sent) == [1]


def test_who_starts_is_told_after_what_was_before_and_ahead_of_the_computing() -> None:
    backend = Log(n_slots=2, next_token=lambda tokens: 9)
    first, second = make_request(1, prompt(5)), make_request(2, prompt(5, 1), max_tokens=1)
    inbox = Inbox([first, second, Shutdown()])
    backend.watch(inbox)
    run(make_engine(backend), cast(CommandChannel, inbox))
    assert backend.seen == [[], [1], [1]]  # the answer, then the prompt
    names = [type(message).__name__ for message in inbox.sent]
    assert names == ["AddingRequest", "StepOutputs", "StepOutputs"] * 2


def test_what_is_kept_goes_out_while_everybody_waits_for_masks() -> None:
    backend = FakeBackend(next_token=lambda tokens: 9, is_masked=lambda request: True)
    engine = make_engine(backend, masks=LateMasks([1_000_000]))
    engine.add_request(make_request(1, prompt(5)))
    calls: list[str] = []
    engine.step(on_wait=lambda: calls.append("wait"))
    calls.clear()
    engine.step(on_wait=lambda: calls.append("wait"))
    assert calls
