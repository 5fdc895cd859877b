"""One stream of events: what its reader gets, and what its listener is told."""

from __future__ import annotations

import asyncio

import pytest

from protocol.events import Event, Finished, FinishReason, Generated, Prefilled, Started
from protocol.sampling import SamplingParams
from server.engine.sequence_stream import SequenceStream
from server.errors import TimedOut
from tests.support.requests import add_request

pytestmark = pytest.mark.anyio

STARTED = Started(1, 0, 0)
FINISHED = Finished(1, FinishReason.STOP)


class Listener:
    def __init__(self) -> None:
        self.told: list[str] = []

    def started(self) -> None:
        self.told.append("started")

    def ended(self) -> None:
        self.told.append("ended")


def make_stream(listener: Listener | None = None) -> SequenceStream:
    return SequenceStream(add_request(1, prompt=[1], sampling=SamplingParams()), listener)


def generated(token: int) -> Generated:
    return Generated(1, [token], [])


def push(stream: SequenceStream, *events: Event) -> None:
    for event in events:
        stream.push(event, 0.0, 1.0)


async def read(stream: SequenceStream) -> list[Event]:
    return [timed.event for timed in await stream.events()]


async def test_a_reader_takes_all_there_is() -> None:
    stream = make_stream()
    push(stream, STARTED, generated(7))
    assert await read(stream) == [STARTED, generated(7)]
    push(stream, FINISHED)
    assert await read(stream) == [FINISHED]


async def test_a_reader_waits_for_the_next_event() -> None:
    stream = make_stream()
    reading = asyncio.create_task(read(stream))
    await asyncio.sleep(0)
    assert not reading.done()
    push(stream, STARTED, generated(7))
    assert await reading == [STARTED, generated(7)]


async def test_a_reader_that_was_cancelled_loses_nothing() -> None:
    stream = make_stream()
    reading = asyncio.create_task(read(stream))
    await asyncio.sleep(0)
    push(stream, STARTED)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    push(stream, FINISHED)
    assert await read(stream) == [STARTED, FINISHED]


async def test_an_error_comes_after_the_events_before_it_and_ends_the_stream() -> None:
    stream = make_stream()
    push(stream, STARTED)
    stream.fail(TimedOut("first"))
    stream.fail(TimedOut("second"))
    push(stream, generated(7))
    assert await read(stream) == [STARTED]
    for _ in range(2):
        with pytest.raises(TimedOut, match="first"):
            await read(stream)


async def test_an_error_wakes_the_reader() -> None:
    stream = make_stream()
    reading = asyncio.create_task(read(stream))
    await asyncio.sleep(0)
    stream.fail(TimedOut("late"))
    with pytest.raises(TimedOut):
        await reading


async def test_a_restarted_engine_repeats_nothing() -> None:
    listener = Listener()
    stream = make_stream(listener)
    push(stream, STARTED, Prefilled(1, 1), generated(7))
    push(stream, STARTED, Prefilled(1, 1), generated(8))
    assert await read(stream) == [STARTED, Prefilled(1, 1), generated(7), generated(8)]
    assert stream.resumption().resumed == [7, 8]
    stream.end()
    assert listener.told == ["started", "ended"]
