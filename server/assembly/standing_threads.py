"""Threads that are there before a request needs one, and stay.

Where memory or process ids are short, a new thread may end before it takes its first job, and
nobody tells the request that waits for it.
"""

from __future__ import annotations

import asyncio
import math
import threading

from anyio import CapacityLimiter, to_thread
from anyio._backends._asyncio import WorkerThread

NUM_THREADS = 48
"""One for each request that may be prepared at a time, and some for all else."""


async def start_threads() -> None:
    """Start anyio's threads. Without this, it starts them as it needs them and ends idle ones."""
    WorkerThread.MAX_IDLE_TIME = math.inf  # type: ignore[assignment]
    limiter, all_at_once = CapacityLimiter(NUM_THREADS), threading.Barrier(NUM_THREADS)
    jobs = (to_thread.run_sync(all_at_once.wait, limiter=limiter) for _ in range(NUM_THREADS))
    await asyncio.gather(*jobs)
