"""Several sequences for one HTTP request: opened together, each item with its sequence's index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from server.generation.types import GenerationRequest, Generator, Item

IndexedItem = tuple[int, Item]


@asynccontextmanager
async def open_choices(
    generator: Generator, requests: Sequence[GenerationRequest]
) -> AsyncIterator[AsyncIterator[IndexedItem]]:
    """Submit all sequences and stream (index, item) pairs as they come.

    Leaving the block aborts the sequences that still run.
    Entering and iterating raise what `Generator.open` raises; one failure ends all sequences.
    """
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(generator.open(request)) for request in requests]
        items = _only(streams[0]) if len(streams) == 1 else _merged(streams)
        stack.push_async_callback(items.aclose)
        yield items


async def _only(stream: AsyncIterator[Item]) -> AsyncGenerator[IndexedItem, None]:
    async for item in stream:
        yield 0, item


async def _merged(
    streams: Sequence[AsyncIterator[Item]],
) -> AsyncGenerator[IndexedItem, None]:
    # Short: what the reader doesn't take must wait in the streams, where it is counted.
    queue: asyncio.Queue[IndexedItem | Exception | None] = asyncio.Queue(len(streams))
    tasks = [
        asyncio.create_task(_pump(index, stream, queue)) for index, stream in enumerate(streams)
    ]
    unfinished = len(tasks)
    try:
        while unfinished:
            entry = await queue.get()
            if entry is None:
                unfinished -= 1
            elif isinstance(entry, Exception):
                raise entry
            else:
                yield entry
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    index: int,
    stream: AsyncIterator[Item],
    queue: asyncio.Queue[IndexedItem | Exception | None],
) -> None:
    """Move a stream's items to the queue, then None, or the error that ended the stream."""
    try:
        async for item in stream:
            await queue.put((index, item))
    except Exception as error:
        await queue.put(error)
    else:
        await queue.put(None)
