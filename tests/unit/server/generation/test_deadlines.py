"""Deadlines on the real generator and client; the test plays the engine."""

from __future__ import annotations

import asyncio

import pytest

from protocol.commands import SequenceSpec
from protocol.events import Finished, FinishReason, Generated, Started
from protocol.messages import Message, Ready, StepOutputs
from protocol.sampling import SamplingParams
from server.engine.client import EngineClient
from server.errors import ApiError, Overloaded, TimedOut, Unavailable
from server.generation.admission_queue import AdmissionQueue
from server.generation.deadlines import NO_DEADLINES, Deadlines
from server.generation.generator import EngineGenerator
from server.generation.types import Ended, GenerationRequest, TextDelta
from tests.support.fake_server import ByteTokenizer, FakeEngine

pytestmark = pytest.mark.anyio

REQUEST = GenerationRequest(spec=SequenceSpec(prompt=(97, 98), sampling=SamplingParams()))


@pytest.fixture
def client() -> EngineClient:
    client = EngineClient(lambda stats: None)
    tell(client, Ready(FakeEngine().model))
    return client


def tell(client: EngineClient, message: Message) -> None:
    """Give the client a message, as the engine would."""
    client._handle(message)


def step(client: EngineClient, *events: Started | Generated | Finished) -> None:
    tell(client, StepOutputs(events=list(events), begin=0.0, end=0.1, stats=None))


def generator(client: EngineClient, deadlines: Deadlines) -> EngineGenerator:
    return EngineGenerator(client, ByteTokenizer(), AdmissionQueue(8), deadlines)


async def outcome(generator: EngineGenerator) -> ApiError | str:
    """The text of an answer, or what ended it."""
    text = ""
    try:
        async with generator.open(REQUEST) as items:
            async for item in items:
                text += item.text if isinstance(item, TextDelta) else ""
                assert isinstance(item, TextDelta | Ended)
    except ApiError as error:
        return error
    return text


async def test_who_gets_no_slot_in_time_is_refused(client: EngineClient) -> None:
    error = await outcome(generator(client, Deadlines(queue_seconds=0.02)))
    assert isinstance(error, Overloaded)
    assert error.message == "no slot was free within 0.02 seconds"
    assert error.headers == {"Retry-After": "1"}
    assert client.streams == {}


async def test_who_has_a_slot_may_take_its_time(client: EngineClient) -> None:
    task = asyncio.create_task(outcome(generator(client, Deadlines(queue_seconds=0.02))))
    await asyncio.sleep(0)
    [request_id] = client.streams
    step(client, Started(request_id, slot=0, num_cached_tokens=0))
    await asyncio.sleep(0.05)
    step(
        client,
        Generated(request_id, [120], []),
        Finished(request_id, FinishReason.MAX_TOKENS),
    )
    assert await task == "x"


async def test_what_takes_too_long_ends_with_an_error(client: EngineClient) -> None:
    task = asyncio.create_task(outcome(generator(client, Deadlines(request_seconds=0.02))))
    await asyncio.sleep(0)
    [request_id] = client.streams
    step(client, Started(request_id, slot=0, num_cached_tokens=0))
    error = await task
    assert isinstance(error, TimedOut)
    assert error.status == 504
    assert error.message == "the answer was not complete after 0.02 seconds"
    assert client.streams == {}


async def test_a_server_that_stops_ends_its_streams_with_an_error(client: EngineClient) -> None:
    tasks = [asyncio.create_task(outcome(generator(client, NO_DEADLINES))) for _ in range(3)]
    await asyncio.sleep(0)
    client.end_streams(Unavailable("stopping"))
    for error in await asyncio.gather(*tasks):
        assert isinstance(error, Unavailable)
        assert error.status == 503
    assert client.streams == {}
