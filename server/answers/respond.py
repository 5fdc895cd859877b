"""The response to a request for generated text: in one piece or streamed, as its body asks."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from server.access.access_record import access_record
from server.answers.shape import StreamedAnswer, WholeAnswer
from server.answers.writing import Writing
from server.context import ServerContext
from server.engine.unread_output import current_output
from server.errors import ApiError, EngineFailed
from server.generation.choices import IndexedItem, open_choices
from server.generation.types import (
    Ended,
    GenerationRequest,
    Generator,
    Item,
    Progress,
    PromptScores,
    TextDelta,
)
from server.http.disconnect import while_connected
from server.http.json_response import JsonResponse
from server.http.sse import EventStream
from server.requests.sampling_fields import SamplingFields

_TOKEN_BYTES = 100
_LOGPROB_BYTES = 150
"""Memory that a token of a whole answer, and one of its log-probabilities, take."""

logger = logging.getLogger(__name__)


async def respond(
    request: Request,
    body: SamplingFields,
    sequences: Sequence[GenerationRequest],
    context: ServerContext,
    *,
    whole: Callable[[], WholeAnswer],
    streamed: Callable[[], StreamedAnswer],
) -> Response:
    """Generate all sequences and answer in the shape that `whole` or `streamed` makes.

    A refusal before the first byte is raised as `Generator.open` says. A stream that fails later
    ends with the frame of its error. The work stops when the client hangs up.
    """
    if body.stream:
        ping_seconds = body.ping_seconds(context.settings.sse_ping_interval)
        return await _stream(context.generator, sequences, streamed(), ping_seconds)
    writing = Writing(access_record(request.scope).tenant, context.answer_turns)
    return await while_connected(
        request.receive, _in_one_piece(context.generator, sequences, whole(), writing)
    )


async def _in_one_piece(
    generator: Generator,
    sequences: Sequence[GenerationRequest],
    answer: WholeAnswer,
    writing: Writing,
) -> Response:
    output = current_output()
    sizes = [0] * len(sequences)
    async with open_choices(generator, sequences) as items:
        async for index, item in items:
            size = memory_of(item)
            sizes[index] += size
            output.add(size)
            output.check()
            match item:
                case TextDelta():
                    await writing.part(size, partial(answer.add, index, item))
                case PromptScores():
                    await writing.part(size, partial(answer.scored, index, item))
                case Ended():
                    await writing.whole(sizes[index], partial(answer.end, index, item))
    return await writing.whole(sum(sizes), lambda: JsonResponse(answer.body()))


def memory_of(item: Item) -> int:
    """Bytes of memory that an item takes in an answer that is kept, roughly."""
    match item:
        case TextDelta():
            logprobs = [token.logprobs for token in item.tokens]
            size = len(item.text) + _TOKEN_BYTES * len(item.tokens)
        case PromptScores():
            logprobs, size = [*item.logprobs], _TOKEN_BYTES * len(item.logprobs)
        case _:
            return 0
    return size + _LOGPROB_BYTES * sum(1 + len(one.top) for one in logprobs if one is not None)


async def _stream(
    generator: Generator,
    sequences: Sequence[GenerationRequest],
    answer: StreamedAnswer,
    ping_seconds: int,
) -> Response:
    resources = AsyncExitStack()
    items = await resources.enter_async_context(open_choices(generator, sequences))
    return EventStream(
        _frames(items, answer),
        resources,
        ping_seconds=ping_seconds,
        ping=answer.ping,
        media_type=answer.media_type,
    )


async def _frames(
    items: AsyncIterator[IndexedItem], answer: StreamedAnswer
) -> AsyncGenerator[bytes, None]:
    try:
        if frames := answer.start():
            yield frames
        async for index, item in items:
            match item:
                case TextDelta():
                    frames = answer.delta(index, item)
                case Ended():
                    frames = answer.end(index, item)
                case PromptScores():
                    frames = answer.scored(index, item)
                case Progress():
                    frames = answer.progress(index, item)
                case _:
                    continue
            if frames:
                yield frames
        if frames := answer.finish():
            yield frames
    except ApiError as error:
        # The request's own line says 200, which the client got before.
        logger.warning("a stream ended with an error: %d %s", error.status, error.kind)
        yield answer.error(error)
    except Exception:
        logger.exception("a stream failed")
        yield answer.error(EngineFailed("the server failed while it produced this answer"))
