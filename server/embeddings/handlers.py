"""`POST /v1/embeddings` in OpenAI's shape, and `/embedding` in llama-server's own."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from server.context import ServerContext, context_of
from server.embeddings.request import EmbeddingRequest
from server.errors import InvalidRequest
from server.http.disconnect import while_connected
from server.http.json_response import JsonResponse, encode_json
from server.pooling.compute import EmbeddedPrompt, Vectors, embed_all, embedding_info
from server.pooling.normalize import normalized
from server.requests.body import read_body
from server.requests.threads import in_thread


async def create_embeddings(request: Request) -> Response:
    """Embed one or several inputs, in OpenAI's shape."""
    context = context_of(request)
    if embedding_info(context).pooling == "none":
        raise InvalidRequest(
            "without pooling each token has a vector of its own, which OpenAI's shape can't hold: "
            "start the server with another --pooling, or ask /embedding"
        )
    body, embedded = await _embedded(request, context)
    return await to_thread.run_sync(_openai_answer, context, body, embedded)


async def create_native_embeddings(request: Request) -> Response:
    """Embed one or several inputs: an array of arrays of vectors."""
    context = context_of(request)
    body, embedded = await _embedded(request, context)
    return await to_thread.run_sync(_native_answer, context, body, embedded)


async def _embedded(
    request: Request, context: ServerContext
) -> tuple[EmbeddingRequest, list[EmbeddedPrompt]]:
    body = await read_body(request, EmbeddingRequest)
    sequences = await in_thread(request, body.sequences, context)
    return body, await while_connected(request.receive, embed_all(context, sequences))


def _openai_answer(
    context: ServerContext, body: EmbeddingRequest, embedded: list[EmbeddedPrompt]
) -> Response:
    count = sum(one.num_tokens for one in embedded)
    return JsonResponse(
        {
            "object": "list",
            "model": context.model_name,
            "data": [
                _entry(index, vector, body.encoding_format)
                for index, vector in enumerate(_scaled(context, body, embedded))
            ],
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }
    )


def _entry(index: int, vectors: Vectors, encoding: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"object": "embedding", "index": index}
    if encoding == "base64":
        data = vectors[0].astype("<f4").tobytes()
        return {**entry, "embedding": base64.b64encode(data).decode(), "encoding_format": encoding}
    return {**entry, "embedding": _encoded(vectors[0])}


def _native_answer(
    context: ServerContext, body: EmbeddingRequest, embedded: list[EmbeddedPrompt]
) -> Response:
    scaled = _scaled(context, body, embedded)
    return JsonResponse(
        [{"index": index, "embedding": _encoded(vectors)} for index, vectors in enumerate(scaled)]
    )


def _encoded(vectors: Vectors) -> msgspec.Raw:
    """The JSON of vectors. The list of Python's numbers, which takes more memory, lives shortly."""
    return msgspec.Raw(encode_json(vectors.tolist()))


def _scaled(
    context: ServerContext, body: EmbeddingRequest, embedded: list[EmbeddedPrompt]
) -> list[Vectors]:
    """The normalized vectors of each input. Vectors of tokens and scores stay as they are."""
    if embedding_info(context).pooling in ("none", "rank"):
        return [one.vectors for one in embedded]
    default = context.settings.embd_normalize
    norm = default if body.embd_normalize is None else body.embd_normalize
    return [normalized(one.vectors, norm) for one in embedded]
