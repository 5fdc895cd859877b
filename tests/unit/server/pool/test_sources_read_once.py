"""Many who ask at once that the sources are read again cause few readings."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping

import pytest

from server.pool.entries import ModelEntry
from server.pool.many import ManyModels
from server.pool.policy import Limits
from tests.support.fake_engines import FakeEngines

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("count", [1, 2, 40])
async def test_askers_share_a_reading_that_began_after_they_asked(count: int) -> None:
    read: list[int] = []

    def sources() -> Mapping[str, ModelEntry]:
        threading.Event().wait(0.01)
        read.append(1)
        return {}

    pool = ManyModels(sources, FakeEngines(), Limits())
    read.clear()
    await asyncio.gather(*(pool.refresh() for _ in range(count)))
    assert len(read) == min(count, 2)
    await pool.refresh()
    assert len(read) == min(count, 2) + 1
