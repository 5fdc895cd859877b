"""Thinking is ended from outside: from the client to the engine's real loop and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from protocol.commands import SequenceSpec
from protocol.sampling import SamplingParams
from server.engine.sequence_stream import Handle
from tests.support.fake_backend import FakeBackend
from tests.support.inprocess import Pair, engine_pair, wait_until

pytestmark = pytest.mark.anyio

ARMED = Handle("chatcmpl-1", can_end_thinking=True)


def spec(tenant: str = "a") -> SequenceSpec:
    sampling = SamplingParams(temperature=0.0)
    return SequenceSpec(prompt=(20, 21), sampling=sampling, max_tokens=200, tenant=tenant)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with engine_pair(lambda: FakeBackend(thought=7)) as pair:
        yield pair


async def test_the_engine_is_told_and_so_is_the_next_one(pair: Pair) -> None:
    pair.gate.allow(2)
    stream = pair.client.add_request(spec(), handle=ARMED)
    await wait_until(lambda: len(stream.tokens) >= 1)
    asked = asyncio.create_task(pair.client.end_thinking("chatcmpl-1", "a"))
    await asyncio.sleep(0)
    pair.gate.allow(None)
    assert await asked == ""
    assert stream.resumption().thinking_ended_at == 7
    pair.client.release(stream)


@pytest.mark.parametrize(
    ("name", "tenant", "message"),
    [
        ("chatcmpl-2", "a", "no active completion"),
        ("chatcmpl-1", "b", "no active completion"),
        ("", "a", "no active completion"),
        ("chatcmpl-0", "a", "not enabled"),
    ],
)
async def test_what_can_not_be_ended(pair: Pair, name: str, tenant: str, message: str) -> None:
    pair.gate.allow(2)
    for handle in (ARMED, Handle("chatcmpl-0"), Handle()):
        pair.client.add_request(spec(), handle=handle)
    assert message in await pair.client.end_thinking(name, tenant)


async def test_an_answer_that_does_not_think() -> None:
    async with engine_pair() as pair:
        pair.client.add_request(spec(), handle=ARMED)
        assert "not reasoning" in await pair.client.end_thinking("chatcmpl-1", "a")


async def test_between_two_engines_the_next_one_is_told(pair: Pair) -> None:
    pair.gate.allow(2)
    stream = pair.client.add_request(spec(), handle=ARMED)
    await wait_until(lambda: len(stream.tokens) >= 1)
    await pair.kill_engine()
    assert await pair.client.end_thinking("chatcmpl-1", "a") == ""
    assert stream.resumption().thinking_ended_at == len(stream.tokens)
    pair.gate.allow(0)  # otherwise the answer would be over before it is asked for
    await pair.start_engine()
    asked = asyncio.create_task(pair.client.end_thinking("chatcmpl-1", "a"))
    await asyncio.sleep(0)
    pair.gate.allow(None)
    assert await asked == ""
