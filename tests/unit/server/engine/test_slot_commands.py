"""Slot commands, from the client to the engine's real loop and back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from protocol.commands import SequenceSpec
from protocol.events import Finished
from protocol.messages import SlotChanged
from protocol.sampling import SamplingParams
from server.errors import EngineFailed, InvalidRequest, NotFound, Unavailable
from tests.support.inprocess import Pair, engine_pair, wait_until

pytestmark = pytest.mark.anyio

SPEC = SequenceSpec(
    prompt=tuple(range(20, 60)),
    sampling=SamplingParams(temperature=0.0),
    max_tokens=5,
    slot=1,
)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with engine_pair() as pair:
        yield pair


async def answer(pair: Pair) -> None:
    """Leave 44 tokens in slot 1."""
    stream = pair.client.add_request(SPEC)
    while not isinstance((await stream.events())[-1].event, Finished):
        pass


async def test_save_erase_restore(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "a"
    await answer(pair)
    saved = await pair.client.save_slot(1, str(path))
    assert (saved.num_tokens, saved.num_bytes) == (44, path.stat().st_size)
    erased = await pair.client.erase_slot(1)
    assert (erased.num_tokens, erased.num_bytes) == (44, 0)
    restored = await pair.client.restore_slot(3, str(path), "")
    assert (restored.num_tokens, restored.num_bytes) == (44, saved.num_bytes)
    slots = (await pair.client.inspect()).slots
    assert [slot.num_cache_tokens for slot in slots] == [0, 0, 0, 44]


async def test_many_at_once_are_each_answered(pair: Pair, tmp_path: Path) -> None:
    await answer(pair)
    saves = [pair.client.save_slot(1, str(tmp_path / str(number))) for number in range(10)]
    changed = await asyncio.gather(*saves)
    assert all(isinstance(item, SlotChanged) and item.num_tokens == 44 for item in changed)
    assert len(os.listdir(tmp_path)) == 10


async def test_refusals_have_the_error_that_fits(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no slot 4"):
        await pair.client.erase_slot(4)
    with pytest.raises(InvalidRequest, match="there is no such file") as refused:
        await pair.client.restore_slot(0, str(tmp_path / "none"), "")
    assert refused.value.param == "filename"
    with pytest.raises(EngineFailed, match="can't be saved"):
        await pair.client.save_slot(0, str(tmp_path / "none" / "a"))


async def test_a_busy_slot(pair: Pair) -> None:
    pair.gate.allow(2)
    stream = pair.client.add_request(msgspec.structs.replace(SPEC, max_tokens=200))
    await wait_until(lambda: len(stream.tokens) == 2)
    question = asyncio.create_task(pair.client.erase_slot(1))
    while not question.done():  # whichever step it is read before
        pair.gate.allow(1)
        await asyncio.sleep(0.005)
    with pytest.raises(InvalidRequest, match="slot 1 is answering a request"):
        await question
    pair.gate.allow(None)
    pair.client.release(stream)


async def test_an_engine_that_dies_leaves_no_one_waiting(pair: Pair) -> None:
    pair.gate.allow(0)
    pair.client.add_request(SPEC)
    await wait_until(lambda: pair.engine.has_work)  # it is in a step, and reads nothing
    question = asyncio.create_task(pair.client.erase_slot(0))
    await asyncio.sleep(0.02)
    await pair.kill_engine()
    with pytest.raises(Unavailable):
        await question
    with pytest.raises(Unavailable):
        await pair.client.erase_slot(0)
    await pair.start_engine()
