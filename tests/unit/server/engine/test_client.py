"""The client against the engine's real loop: streams, restarts, queries, and the shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from protocol.commands import AddRequest, SequenceSpec
from protocol.events import Event, Finished, FinishReason, Generated, Prefilled, Started
from protocol.sampling import SamplingParams
from scheduler.backends.base import Preparation, SamplerError, TooComplex
from scheduler.core.results import Sample
from server.engine.client import EngineClient
from server.engine.sequence_stream import SequenceStream
from server.errors import ApiError, EngineFailed, InvalidRequest, Unavailable
from tests.support.fake_backend import FakeBackend, FakeSampler, hashed_token
from tests.support.inprocess import Pair, engine_pair, wait_until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with engine_pair() as pair:
        yield pair


def make_spec(
    tokens: list[int] | None = None, max_tokens: int = 5, **fields: object
) -> SequenceSpec:
    return SequenceSpec(
        prompt=tuple(tokens or [11, 12, 13]),
        sampling=SamplingParams(temperature=0.0),
        max_tokens=max_tokens,
        **fields,  # type: ignore[arg-type]
    )


def expected(tokens: list[int], count: int) -> list[int]:
    """What the fake model answers."""
    tokens = list(tokens)
    for _ in range(count):
        tokens.append(hashed_token(tokens))
    return tokens[-count:]


async def rest(stream: SequenceStream) -> list[Event]:
    """Events up to the last one."""
    events: list[Event] = []
    while not (events and isinstance(events[-1], Finished)):
        events += [timed.event for timed in await stream.events()]
    return events


def tokens_of(events: list[Event]) -> list[int]:
    return [token for event in events if isinstance(event, Generated) for token in event.tokens]


async def test_a_stream_has_a_start_tokens_and_an_end(pair: Pair) -> None:
    events = await rest(pair.client.add_request(make_spec()))
    assert isinstance(events[0], Started)
    assert tokens_of(events) == expected([11, 12, 13], 5)
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is FinishReason.MAX_TOKENS
    assert pair.client.streams == {}


async def test_many_streams_get_their_own_tokens(pair: Pair) -> None:
    prompts = [[20 + index, 30, 40] for index in range(30)]
    streams = [pair.client.add_request(make_spec(prompt)) for prompt in prompts]
    answers = await asyncio.gather(*map(rest, streams))
    assert [tokens_of(events) for events in answers] == [expected(p, 5) for p in prompts]


async def test_a_listener_learns_of_the_end_before_the_last_events_are_read(pair: Pair) -> None:
    told: list[str] = []

    class Listener:
        def started(self) -> None:
            told.append("started")

        def ended(self) -> None:
            told.append("ended")

    stream = pair.client.add_request(make_spec(), listener=Listener())
    await wait_until(lambda: bool(told) and told[-1] == "ended")
    await rest(stream)
    pair.client.release(stream)
    left = pair.client.add_request(make_spec(), listener=Listener())
    pair.client.release(left)
    assert told[:2] == ["started", "ended"]
    assert told.count("ended") == 2


async def test_steps_are_reported(pair: Pair) -> None:
    await rest(pair.client.add_request(make_spec()))
    assert sum(step.num_prefill_tokens for step in pair.steps) == 3


async def test_a_released_stream_is_aborted(pair: Pair) -> None:
    pair.gate.allow(2)
    stream = pair.client.add_request(make_spec(max_tokens=-1))
    await wait_until(lambda: len(stream.tokens) == 2)
    pair.client.release(stream)
    pair.gate.allow(None)
    await wait_until(lambda: not pair.engine.has_work)
    assert pair.client.streams == {}


async def test_a_refusal_of_the_engine_is_an_error(pair: Pair) -> None:
    stream = pair.client.add_request(make_spec(list(range(10, 200)) * 2))
    with pytest.raises(EngineFailed, match="do not fit"):
        await rest(stream)


async def test_inspection_shows_the_slots(pair: Pair) -> None:
    report = await pair.client.inspect()
    assert len(report.slots) == 4
    assert report.num_waiting == 0


async def test_an_idle_engine_is_heard_of(pair: Pair) -> None:
    age = pair.client.heartbeat_age
    assert age is not None
    assert 0 <= age < 20


async def test_nothing_can_be_asked_before_the_model_is_loaded() -> None:
    client = EngineClient(lambda stats: None)
    assert not client.is_ready
    assert client.heartbeat_age is None
    with pytest.raises(Unavailable):
        _ = client.model
    with pytest.raises(Unavailable):
        client.add_request(make_spec())
    with pytest.raises(Unavailable):
        await client.inspect()


async def test_a_model_that_cannot_be_loaded_is_told(pair: Pair) -> None:
    client = EngineClient(lambda stats: None)
    waiting = asyncio.create_task(client.wait_loaded())
    await asyncio.sleep(0)
    client.give_up("no such file")
    with pytest.raises(EngineFailed, match="no such file"):
        await waiting


class TestRestart:
    async def test_running_streams_go_on_where_they_were(
        self, pair: Pair, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        pair.gate.allow(3)
        prompts = [[20 + index, 30, 40] for index in range(6)]  # four run, two wait
        streams = [pair.client.add_request(make_spec(p, max_tokens=9)) for p in prompts]
        await wait_until(lambda: len(streams[0].tokens) >= 2)
        await pair.kill_engine()
        assert not pair.client.is_ready
        assert "runs again" not in caplog.text
        await pair.start_engine()
        assert "the engine runs again; 6 answers go on" in caplog.text
        answers = await asyncio.gather(*map(rest, streams))
        for events, prompt in zip(answers, prompts, strict=True):
            assert tokens_of(events) == expected(prompt, 9)
            assert sum(isinstance(event, Started) for event in events) == 1

    async def test_what_is_submitted_meanwhile_waits_for_the_next_engine(self, pair: Pair) -> None:
        await pair.kill_engine()
        stream = pair.client.add_request(make_spec())
        await pair.start_engine()
        assert tokens_of(await rest(stream)) == expected([11, 12, 13], 5)

    async def test_what_is_released_meanwhile_is_not_resumed(self, pair: Pair) -> None:
        pair.gate.allow(1)
        stream = pair.client.add_request(make_spec(max_tokens=-1))
        await wait_until(lambda: bool(stream.tokens))
        await pair.kill_engine()
        pair.client.release(stream)
        await pair.start_engine()
        assert (await pair.client.inspect()).num_waiting == 0
        assert not pair.engine.has_work

    async def test_progress_is_not_told_twice(self, pair: Pair) -> None:
        pair.gate.allow(2)
        stream = pair.client.add_request(make_spec(report_progress=True))
        await wait_until(lambda: len(stream.tokens) == 2)
        await pair.kill_engine()
        await pair.start_engine()
        events = await rest(stream)
        assert sum(isinstance(event, Prefilled) for event in events) == 1

    async def test_a_question_that_the_dead_engine_had_fails(self, pair: Pair) -> None:
        pair.gate.allow(0)
        stream = pair.client.add_request(make_spec())
        await wait_until(lambda: stream.is_running)  # in a step that doesn't end
        question = asyncio.create_task(pair.client.inspect())
        await asyncio.sleep(0.01)
        await pair.kill_engine()
        with pytest.raises(Unavailable):
            await question
        with pytest.raises(Unavailable):
            await pair.client.inspect()
        await pair.start_engine()


@pytest.mark.parametrize(
    ("raised", "error"), [(TooComplex, InvalidRequest), (SamplerError, EngineFailed)]
)
async def test_a_sampler_that_breaks_fails_its_stream(
    raised: type[SamplerError], error: type[ApiError]
) -> None:
    class Breaking(FakeSampler):
        def sample(self, row: int) -> Sample:
            raise raised("the grammar is too slow")

    class Backend(FakeBackend):
        def sampler(self, request: AddRequest, prepared: Preparation | None = None) -> FakeSampler:
            return Breaking(self, request)

    async with engine_pair(Backend) as pair:
        with pytest.raises(error, match="the grammar is too slow"):
            await rest(pair.client.add_request(make_spec()))


async def test_a_failed_batch_fails_its_streams_and_spares_the_next() -> None:
    failures = iter([False, True, False])
    backend = FakeBackend(fail_on=lambda chunks: next(failures, False))
    async with engine_pair(lambda: backend) as pair:
        with pytest.raises(EngineFailed):
            await rest(pair.client.add_request(make_spec()))
        events = await rest(pair.client.add_request(make_spec()))
        assert tokens_of(events) == expected([11, 12, 13], 5)
