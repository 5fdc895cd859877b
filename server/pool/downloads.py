"""Models that the server downloads for its clients: from which hosts, and who hears of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from config import ServeSettings
from server.pool.interface import ModelPool, PoolEvent, PoolEventKind
from server.store.background import Download, Downloads
from server.store.errors import PullCancelled, StoreError
from server.store.folders import folders_of
from server.store.hosts import PullHosts
from server.store.hub_settings import hub_settings
from server.store.progress import PullStatus
from server.store.pull import PullOptions


def server_downloads(
    settings: ServeSettings, pool: ModelPool, environ: Mapping[str, str] = os.environ
) -> Downloads:
    """The downloads of a server, within `--pull-hosts`. Raises `StoreError`."""
    hub = hub_settings(environ, token=settings.hf_token, is_offline=settings.offline)
    own = [] if settings.pull_hosts == NO_HOST else [urlsplit(hub.endpoint).netloc]
    options = PullOptions(
        folders_of(environ),
        hub,
        hosts=PullHosts([*settings.pull_hosts, *own]),
        takes_files=False,
    )
    return Downloads(options, lambda download: _announce(pool, download))


NO_HOST = ("none",)
"""The value of `--pull-hosts` that allows no host at all."""


NOTHING_YET = {"done": 0, "total": 0, "status": PullStatus.WAITING.value, "reason": ""}
"""What is told of a download at its beginning, before its files are known."""


async def _announce(pool: ModelPool, download: Download) -> None:
    """Tell the pool's subscribers how a download goes, and have the pool find the model."""
    name = str(download.reference)
    pool.publish(_event(PoolEventKind.DOWNLOAD_PROGRESS, name, {name: NOTHING_YET}))
    async for progress in download.progress():
        if progress.total is not None:  # clients add the totals up
            amount = {"done": progress.completed, "total": progress.total}
            told = {**amount, "status": progress.status.value, "reason": progress.reason}
            pool.publish(_event(PoolEventKind.DOWNLOAD_PROGRESS, name, {progress.file: told}))
    try:
        model = await download.result()
    except StoreError as error:
        told = {"reason": str(error), "cancelled": isinstance(error, PullCancelled)}
        pool.publish(_event(PoolEventKind.DOWNLOAD_FAILED, name, told))
        return
    pool.publish(_event(PoolEventKind.DOWNLOAD_FINISHED, name, {"name": model.name}))
    await pool.refresh()


def _event(kind: PoolEventKind, name: str, data: Mapping[str, object]) -> PoolEvent:
    return PoolEvent(kind, name, data=data)
