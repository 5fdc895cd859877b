"""`POST /v1/completions`, OpenAI's older endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from server.context import ServerContext, context_of
from server.generation.choices import IndexedItem, open_choices
from server.generation.timings import progress_json, timings_json
from server.generation.types import Ended, GenerationRequest, Progress, TextDelta, Timings
from server.http.disconnect import while_connected
from server.http.json_response import JsonResponse
from server.http.sse import DONE, EventStream, frame
from server.openai.completions.answer import TextChoice
from server.openai.completions.request import TextCompletionRequest
from server.openai.identity import new_identity
from server.openai.usage import Usage
from server.requests.body import read_body

KIND = "text_completion"


async def create_completion(request: Request) -> Response:
    """Continue one or several prompts, with `n` choices each, streamed or in one piece."""
    context = context_of(request)
    body = await read_body(request, TextCompletionRequest)
    sequences = await to_thread.run_sync(body.sequences, context)
    choices = [
        TextChoice(
            index,
            echo,
            context.tokenizer,
            with_logprobs=body.num_logprobs >= 0,
            with_tokens=body.return_tokens,
        )
        for index, echo in enumerate(body.echoes(context))
    ]
    if body.stream:
        return await _streamed(context, body, sequences, choices)
    return await while_connected(request, _whole(context, body, sequences, choices))


async def _whole(
    context: ServerContext,
    body: TextCompletionRequest,
    sequences: Sequence[GenerationRequest],
    choices: Sequence[TextChoice],
) -> Response:
    finished: list[dict[str, Any]] = [{}] * len(choices)
    usage = Usage(body.n)
    timings: dict[int, Timings] = {}
    async with open_choices(context.generator, sequences) as items:
        async for index, item in items:
            if isinstance(item, TextDelta):
                choices[index].add(item)
            elif isinstance(item, Ended):
                finished[index] = choices[index].choice(item)
                usage.add(index, item)
                timings[index] = item.timings
    answer = new_identity("cmpl", context).fields(KIND)
    answer |= {"choices": finished, "usage": usage.to_json(), "timings": timings_json(timings[0])}
    return JsonResponse(answer)


async def _streamed(
    context: ServerContext,
    body: TextCompletionRequest,
    sequences: Sequence[GenerationRequest],
    choices: Sequence[TextChoice],
) -> Response:
    resources = AsyncExitStack()
    items = await resources.enter_async_context(open_choices(context.generator, sequences))
    fields = new_identity("cmpl", context).fields(KIND)
    events = _events(items, choices, body, fields)
    ping_seconds = body.ping_seconds(context.settings.sse_ping_interval)
    return EventStream(events, resources, ping_seconds=ping_seconds)


async def _events(
    items: AsyncIterator[IndexedItem],
    choices: Sequence[TextChoice],
    body: TextCompletionRequest,
    fields: dict[str, Any],
) -> AsyncIterator[bytes]:
    include_usage = body.stream_options.include_usage
    common = fields | ({"usage": None} if include_usage else {})
    usage = Usage(body.n)
    for choice in choices:
        echoed = choice.start()
        if echoed:
            yield frame(common | {"choices": [echoed]})
    async for index, item in items:
        choice = choices[index]
        if isinstance(item, TextDelta):
            event = common | {"choices": [choice.piece(item)]}
            if body.timings_per_token:
                event["timings"] = timings_json(item.timings)
        elif isinstance(item, Ended):
            usage.add(index, item)
            event = common | {"choices": [choice.end(item)], "timings": timings_json(item.timings)}
        else:
            assert isinstance(item, Progress)
            progress = {"prompt_progress": progress_json(item)}
            event = common | {"choices": [choice.empty()]} | progress
        yield frame(event)
    if include_usage:
        yield frame(fields | {"choices": [], "usage": usage.to_json()})
    yield DONE
