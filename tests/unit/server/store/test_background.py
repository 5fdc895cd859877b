"""Pulls in the background: their reports, their end, and those who join."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from server.store.background import MOST_AT_ONCE, Downloads
from server.store.errors import PullCancelled, StoreError
from server.store.hosts import PullHosts
from server.store.progress import PullStatus
from server.store.pull import PullOptions
from tests.support.local_hub import LocalHub, gguf_bytes

pytestmark = pytest.mark.anyio


@pytest.fixture
def served(hub: LocalHub, options: PullOptions) -> PullOptions:
    for number in range(MOST_AT_ONCE + 2):
        hub.repos[f"u/r{number}"] = {"m.gguf": gguf_bytes(50_000, seed=str(number))}
    return dataclasses.replace(options, takes_files=False)


async def test_reports_until_the_end(served: PullOptions) -> None:
    downloads = Downloads(served)
    download = downloads.start("u/r0")
    statuses = [report.status async for report in download.progress()]
    assert statuses[-1] is PullStatus.DONE
    model = await download.result()
    assert model.name == "u/r0:m"
    await asyncio.sleep(0)
    assert downloads.running() == []
    assert [report.status async for report in download.progress()] == [PullStatus.DONE]


async def test_two_who_ask_for_the_same_share_one_pull(served: PullOptions, hub: LocalHub) -> None:
    downloads = Downloads(served)
    first, second = downloads.start("u/r0"), downloads.start("hf.co/u/r0:latest")
    assert first is second
    await first.result()
    assert hub.downloads() == ["m.gguf"]


async def test_a_failure_reaches_everybody_once(served: PullOptions) -> None:
    downloads = Downloads(served)
    download = downloads.start("u/none")
    async for _ in download.progress():
        pass
    for _ in range(2):
        with pytest.raises(StoreError, match="there is no repository u/none"):
            await download.result()
    again = downloads.start("u/none")
    assert again is not download
    with pytest.raises(StoreError):
        await again.result()


async def test_more_pulls_wait_their_turn(served: PullOptions, hub: LocalHub) -> None:
    downloads = Downloads(served)
    hub.piece_seconds = 0.001
    started = [downloads.start(f"u/r{number}") for number in range(MOST_AT_ONCE + 2)]
    await asyncio.sleep(0)
    assert started[-1].latest.reason == "it waits its turn"
    assert len({(await one.result()).path for one in started}) == len(started)


async def test_a_cancelled_pull_ends_and_can_be_started_again(
    served: PullOptions, hub: LocalHub
) -> None:
    downloads = Downloads(served)
    hub.piece_seconds = 0.02
    download = downloads.start("u/r0")
    async for report in download.progress():
        if report.status is PullStatus.DOWNLOADING:
            download.cancel()
    with pytest.raises(PullCancelled):
        await download.result()
    hub.piece_seconds = 0
    assert (await downloads.start("u/r0").result()).path.exists()
    assert hub.ranges()[-1] != "bytes=0-"


async def test_a_pull_that_waits_is_cancelled_at_once(served: PullOptions, hub: LocalHub) -> None:
    downloads = Downloads(served)
    hub.piece_seconds = 0.02
    started = [downloads.start(f"u/r{number}") for number in range(MOST_AT_ONCE + 1)]
    await asyncio.sleep(0)
    assert downloads.cancel("u/r2")
    with pytest.raises(PullCancelled):
        await started[-1].result()
    assert not downloads.cancel("u/r2")
    hub.piece_seconds = 0
    again = downloads.start("u/r2")
    assert again is not started[-1]
    assert (await again.result()).path.exists()
    assert all([(await one.result()).path.exists() for one in started[:-1]])


async def test_the_end_of_the_server_ends_all_pulls(served: PullOptions, hub: LocalHub) -> None:
    downloads = Downloads(served)
    hub.piece_seconds = 0.02
    started = [downloads.start(f"u/r{number}") for number in range(MOST_AT_ONCE + 2)]
    await asyncio.sleep(0)
    await downloads.close()
    assert downloads.running() == []
    assert started


@pytest.mark.parametrize("reference", ["/etc/passwd", "./x.gguf", "~/x.gguf", "x.gguf"])
async def test_others_cannot_name_files_of_this_machine(
    served: PullOptions, reference: str
) -> None:
    with pytest.raises(StoreError, match="is a file; a pull takes a repository or an address"):
        Downloads(served).start(reference)


async def test_others_reach_allowed_hosts_only(served: PullOptions, hub: LocalHub) -> None:
    downloads = Downloads(dataclasses.replace(served, hosts=PullHosts(["*.hf.co"])))
    for reference in ("u/r0", f"{hub.url}/x.gguf", "http://169.254.169.254/x.gguf"):
        with pytest.raises(StoreError, match="pulls may not use the host"):
            downloads.start(reference)
    assert hub.asked == []
