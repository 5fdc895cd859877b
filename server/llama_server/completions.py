"""`POST /completion`: llama-server's native completion, streamed or in one piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from server.context import ServerContext, context_of
from server.generation.choices import IndexedItem, open_choices
from server.generation.types import Ended, GenerationRequest, Progress, TextDelta
from server.http.disconnect import while_connected
from server.http.json_response import JsonResponse
from server.http.sse import EventStream, frame
from server.llama_server.completion_answer import CompletionAnswer
from server.llama_server.completion_request import CompletionRequest
from server.requests.body import read_body


async def create_completion(request: Request) -> Response:
    """Answer one or several prompts; several answers come as an array, or as mixed events."""
    context = context_of(request)
    body = await read_body(request, CompletionRequest)
    sequences = await to_thread.run_sync(body.sequences, context)
    answers = [
        CompletionAnswer(index, body, sequence, context) for index, sequence in enumerate(sequences)
    ]
    if body.stream:
        return await _streamed(context, body, sequences, answers)
    return await while_connected(request, _whole(context, sequences, answers))


async def _whole(
    context: ServerContext,
    sequences: Sequence[GenerationRequest],
    answers: Sequence[CompletionAnswer],
) -> Response:
    finals: list[object] = [None] * len(answers)
    async with open_choices(context.generator, sequences) as items:
        async for index, item in items:
            if isinstance(item, TextDelta):
                answers[index].add(item)
            elif isinstance(item, Ended):
                finals[index] = answers[index].final(item)
    return JsonResponse(finals if len(finals) > 1 else finals[0])


async def _streamed(
    context: ServerContext,
    body: CompletionRequest,
    sequences: Sequence[GenerationRequest],
    answers: Sequence[CompletionAnswer],
) -> Response:
    resources = AsyncExitStack()
    items = await resources.enter_async_context(open_choices(context.generator, sequences))
    ping_seconds = body.ping_seconds(context.settings.sse_ping_interval)
    return EventStream(_events(items, answers), resources, ping_seconds=ping_seconds)


async def _events(
    items: AsyncIterator[IndexedItem], answers: Sequence[CompletionAnswer]
) -> AsyncIterator[bytes]:
    async for index, item in items:
        answer = answers[index]
        if isinstance(item, TextDelta):
            answer.add(item)
            yield frame(answer.chunk(item))
        elif isinstance(item, Ended):
            yield frame(answer.final(item))
        elif isinstance(item, Progress):
            yield frame(answer.progress_chunk(item))
