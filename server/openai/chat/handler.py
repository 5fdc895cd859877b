"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from server.context import ServerContext, context_of
from server.generation.choices import IndexedItem, open_choices
from server.generation.timings import timings_json
from server.generation.types import Ended, Progress, TextDelta, Timings
from server.http.disconnect import while_connected
from server.http.json_response import JsonResponse
from server.http.sse import DONE, EventStream
from server.openai.chat.answer import ChatMessage
from server.openai.chat.plan import ChatPlan, plan_chat
from server.openai.chat.request import ChatRequest
from server.openai.chat.stream import ChatStream, ChunkWriter
from server.openai.identity import new_identity
from server.openai.usage import Usage
from server.requests.body import read_body


async def create_chat_completion(request: Request) -> Response:
    """Answer a chat, with `n` choices, streamed or in one piece."""
    context = context_of(request)
    body = await read_body(request, ChatRequest)
    plan = await to_thread.run_sync(plan_chat, body, context)
    if body.stream:
        return await _streamed(context, body, plan)
    return await while_connected(request, _whole(context, body, plan))


async def _whole(context: ServerContext, body: ChatRequest, plan: ChatPlan) -> Response:
    messages = [
        ChatMessage(index, plan.make_parser(), context.tokenizer, plan.options)
        for index in range(body.n)
    ]
    choices: list[dict[str, Any]] = [{}] * body.n
    usage = Usage(body.n)
    timings: dict[int, Timings] = {}
    async with open_choices(context.generator, plan.sequences) as items:
        async for index, item in items:
            if isinstance(item, TextDelta):
                messages[index].add(item)
            elif isinstance(item, Ended):
                choices[index] = messages[index].choice(item)
                usage.add(index, item, messages[index].num_reasoning_tokens)
                timings[index] = item.timings
    answer = new_identity("chatcmpl", context).fields("chat.completion")
    answer |= {"choices": choices, "usage": usage.to_json(), "timings": timings_json(timings[0])}
    return JsonResponse(answer)


async def _streamed(context: ServerContext, body: ChatRequest, plan: ChatPlan) -> Response:
    resources = AsyncExitStack()
    items = await resources.enter_async_context(open_choices(context.generator, plan.sequences))
    include_usage = body.stream_options.include_usage
    writer = ChunkWriter(new_identity("chatcmpl", context), include_usage=include_usage)
    streams = [
        ChatStream(index, plan.make_parser(), writer, context.tokenizer, plan.options)
        for index in range(body.n)
    ]
    events = _events(items, streams, writer, include_usage=include_usage)
    ping_seconds = body.ping_seconds(context.settings.sse_ping_interval)
    return EventStream(events, resources, ping_seconds=ping_seconds)


async def _events(
    items: AsyncIterator[IndexedItem],
    streams: list[ChatStream],
    writer: ChunkWriter,
    *,
    include_usage: bool,
) -> AsyncIterator[bytes]:
    usage = Usage(len(streams))
    timings: Timings | None = None
    for stream in streams:
        yield stream.start()
    async for index, item in items:
        if isinstance(item, TextDelta):
            chunks = streams[index].add(item)
            if chunks:
                yield chunks
        elif isinstance(item, Ended):
            usage.add(index, item, streams[index].num_reasoning_tokens)
            timings = item.timings
            yield streams[index].end(item)
        elif isinstance(item, Progress):
            yield streams[index].progress(item)
    if include_usage:
        yield writer.usage(usage.to_json(), timings_json(timings) if timings else None)
    yield DONE
