"""Embeds many prompts of one request, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocol.messages import EmbeddingInfo
from server.bodies.bounds import NUMBERS
from server.context import ServerContext
from server.engine.unread_output import current_output
from server.errors import InvalidRequest, NotSupported
from server.generation.types import EmbeddingItem, GenerationRequest, Generator

Vectors = np.ndarray[Any, np.dtype[np.float32]]
"""Shape (vectors, floats): one vector, or one for each token without pooling."""

_MEMORY = 2
"""Bytes of memory by byte of a vector: the vector, and a part of the JSON that is still to come."""


@dataclass(frozen=True, slots=True)
class EmbeddedPrompt:
    """The embedding of one prompt."""

    vectors: Vectors
    num_tokens: int


def embedding_info(context: ServerContext) -> EmbeddingInfo:
    """How the model embeds. Raises `NotSupported` without --embeddings, and `Unavailable`."""
    info = context.engine.model.embedding
    if info is None:
        raise NotSupported("this server was started without --embeddings")
    return info


def check_length(
    num_tokens: int, info: EmbeddingInfo, *, param: str, at_least: bool = False
) -> None:
    """Raise `InvalidRequest` for a prompt that is too long to be embedded.

    `at_least`: the prompt was not tokenized; the number is a lower bound.
    """
    if num_tokens > info.max_tokens:
        by = "--ubatch-size and --ctx-size allow" if info.is_whole else "a slot's context holds"
        count = f"{'at least ' * at_least}{num_tokens}"
        raise InvalidRequest(
            f"'{param}' has {count} tokens, more than the {info.max_tokens} that {by}",
            param=param,
        )


def check_numbers(num_vectors: int, info: EmbeddingInfo) -> None:
    """Raise `InvalidRequest` if the vectors of a request have too many numbers together."""
    if num_vectors * info.size > NUMBERS.most:
        raise InvalidRequest(
            f"'input' asks for vectors of more than {NUMBERS.most:,} numbers together: send fewer "
            "inputs at once",
            param="input",
        )


async def embed_all(
    context: ServerContext, requests: Sequence[GenerationRequest]
) -> list[EmbeddedPrompt]:
    """The embeddings in the order of the requests; one failure ends all of them.

    At most two prompts for each slot are queued at once: a large request must not fill the queue.
    Raises what `Generator.open` raises.
    """
    size, output = embedding_info(context).size, current_output()
    gate = asyncio.Semaphore(2 * context.engine.model.n_slots)

    async def embed_one(request: GenerationRequest) -> EmbeddedPrompt:
        async with gate:
            data = await _embed(context.generator, request)
        output.add(_MEMORY * len(data))
        output.check()
        return EmbeddedPrompt(
            np.frombuffer(data, np.float32).reshape(-1, size), len(request.spec.prompt)
        )

    tasks = [asyncio.create_task(embed_one(request)) for request in requests]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _embed(generator: Generator, request: GenerationRequest) -> bytes:
    vectors = b""
    async with generator.open(request) as items:
        async for item in items:
            if isinstance(item, EmbeddingItem):
                vectors = item.vectors
    return vectors
