"""`POST /v1/chat/completions`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from server.answers.respond import respond
from server.answers.verbose import verbose_records
from server.chat.plan import plan_chat
from server.chat.request import ChatRequest
from server.context import context_of
from server.engine.sequence_stream import Handle
from server.generation.types import GenerationRequest
from server.openai.chat.answer import ChatMessage
from server.openai.chat.stream import ChatStream, ChoiceStream, ChunkWriter
from server.openai.identity import Identity, new_identity
from server.openai.whole_answer import WholeCompletion
from server.requests.body import read_body
from server.requests.threads import in_thread

logger = logging.getLogger(__name__)

MAX_WARNING_CHARS = 1024
"""Maximum length of the header that names what is left to the model."""


async def create_chat_completion(request: Request) -> Response:
    """Answer a chat, with `n` choices, streamed or in one piece."""
    context = context_of(request)
    body = await read_body(request, ChatRequest)
    plan = await in_thread(request, plan_chat, body, context, is_structured=body.is_structured)

    identity = new_identity("chatcmpl", context.model_name)
    sequences = _with_handle(plan.sequences, body, identity)
    records = verbose_records(body, sequences, context)

    def whole() -> WholeCompletion:
        choices = [ChatMessage(index, context.tokenizer, plan.options) for index in range(body.n)]
        return WholeCompletion(
            choices,
            context.model_name,
            choices_per_prompt=body.n,
            prefix="chatcmpl",
            kind="chat.completion",
            records=records,
        )

    def streamed() -> ChatStream:
        include_usage = body.stream_options.include_usage
        writer = ChunkWriter(identity, include_usage=include_usage)
        choices = [
            ChoiceStream(index, writer, context.tokenizer, plan.options) for index in range(body.n)
        ]
        return ChatStream(choices, writer, include_usage=include_usage, records=records)

    response = await respond(request, body, sequences, context, whole=whole, streamed=streamed)
    _tell_left_out(response, plan.left_out)
    return response


def _tell_left_out(response: Response, places: Sequence[str]) -> None:
    """Name in a header what of the tools' schemas the model is left free to do."""
    if not places:
        return
    # The places themselves are the client's text, so the log tells their number only.
    logger.warning("%d parts of tools are left to the model", len(places))
    shown = ascii(", ".join(places))[1:-1][:MAX_WARNING_CHARS]
    response.headers["Llamapack-Left-To-Model"] = shown


def _with_handle(
    sequences: Sequence[GenerationRequest], body: ChatRequest, identity: Identity
) -> Sequence[GenerationRequest]:
    """The sequences under the id that the client of a stream learns."""
    if not body.stream:
        return sequences
    handle = Handle(identity.id, body.reasoning_control)
    return [replace(sequence, handle=handle) for sequence in sequences]
