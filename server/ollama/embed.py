"""`POST /api/embed` and the older `POST /api/embeddings`."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from protocol.messages import EmbeddingInfo
from server.context import ServerContext
from server.errors import ContextExceeded, InvalidRequest
from server.generation.types import GenerationRequest
from server.http.disconnect import while_connected
from server.http.json_response import JsonResponse, encode_json
from server.ollama.options import Options
from server.ollama.request import OllamaEmbeddingsRequest, OllamaEmbedRequest
from server.ollama.serving import in_queue, recipe_of, user_of, with_model
from server.pooling.compute import (
    EmbeddedPrompt,
    check_length,
    check_numbers,
    embed_all,
    embedding_info,
)
from server.pooling.normalize import normalized
from server.pooling.sequence import embedding_sequence
from server.requests.body import read_body
from server.requests.carried import CarriedBytes
from server.requests.prompt_size import USUAL_PIECE
from server.requests.prompts import prompt_tokens, split_parts
from server.requests.threads import in_thread

_EUCLIDEAN = 2


@in_queue
async def create_embeddings(request: Request) -> Response:
    """Embed one or several texts, as vectors of length 1."""
    started = time.monotonic_ns()
    body = await read_body(request, OllamaEmbedRequest)

    async def answer(request: Request, context: ServerContext) -> Response:
        loaded = time.monotonic_ns()
        sequences = await in_thread(request, _sequences, body, context, user_of(request) or "")
        embedded = await while_connected(request.receive, embed_all(context, sequences))
        vectors = await to_thread.run_sync(_vectors, embedded, body.dimensions)
        return JsonResponse(
            {
                "model": body.model,
                "embeddings": vectors,
                "total_duration": time.monotonic_ns() - started,
                "load_duration": loaded - started,
                "prompt_eval_count": sum(one.num_tokens for one in embedded),
            }
        )

    return await with_model(request, body, recipe_of(request, body.model).base, answer)


@in_queue
async def create_embedding(request: Request) -> Response:
    """Embed one text."""
    body = await read_body(request, OllamaEmbeddingsRequest)

    async def answer(request: Request, context: ServerContext) -> Response:
        if not body.prompt:
            _check_pooling(embedding_info(context))
            return JsonResponse({"embedding": []})
        many = OllamaEmbedRequest(model=body.model, input=[body.prompt], options=body.options)
        sequences = await in_thread(request, _sequences, many, context, user_of(request) or "")
        [one] = await while_connected(request.receive, embed_all(context, sequences))
        [vector] = normalized(one.vectors, context.settings.embd_normalize).tolist()
        return JsonResponse({"embedding": vector})

    return await with_model(request, body, recipe_of(request, body.model).base, answer)


def _sequences(
    body: OllamaEmbedRequest, context: ServerContext, user: str
) -> list[GenerationRequest]:
    """One request for each text. Raises `NotSupported`, `InvalidRequest` and `Unavailable`."""
    info = embedding_info(context)
    _check_pooling(info)
    if body.dimensions > info.size:
        raise InvalidRequest(
            f"'dimensions' must be at most {info.size}, the model's own number "
            f"(got {body.dimensions})",
            param="dimensions",
        )
    body.options.check(context.settings)
    check_numbers(len(body.input), info)
    carried, sequences = CarriedBytes(), []
    most = min(body.options.num_ctx or info.max_tokens, info.max_tokens)
    for index, text in enumerate(body.input):
        param = f"input.{index}" if len(body.input) > 1 else "input"
        tokens = _tokens(text, context, most, param=param, cut=body.truncate)
        _check_fits(tokens, most, info, body.options, param=param)
        carried.add_prompt(len(tokens), param="input")
        sequences.append(embedding_sequence(context, tokens, user=user))
    return sequences


def _tokens(
    text: str, context: ServerContext, most: int, *, param: str, cut: bool
) -> tuple[int, ...]:
    """The tokens of a text, cut at its end if it is too long and may be cut.

    A token that the model wants at the end stays there.
    """
    tokenizer = context.tokenizer
    if not cut:
        try:
            return prompt_tokens((text,), tokenizer, context.engine.model.n_ctx_slot, param=param)
        except ContextExceeded as error:
            check_length(error.n_prompt_tokens, embedding_info(context), param=param, at_least=True)
            raise
    tokens: list[int] = []
    for piece in (USUAL_PIECE, tokenizer.longest_piece):
        # What stands behind so many characters can't be among the first tokens.
        beginning = text[: piece * most]
        tokens = split_parts(
            (beginning,), tokenizer, param=param, add_special=True, parse_special=True
        )
        if len(tokens) > most or len(beginning) == len(text):
            break
    if not tokens:
        raise InvalidRequest(f"'{param}' must not be empty", param=param)
    if len(tokens) <= most:
        return tuple(tokens)
    end = tokens[-1:] if tokens[-1] in tokenizer.end_tokens else []
    return (*tokens[: most - len(end)], *end)


def _check_fits(
    tokens: Sequence[int], most: int, info: EmbeddingInfo, options: Options, *, param: str
) -> None:
    check_length(len(tokens), info, param=param)
    if len(tokens) > most:
        raise InvalidRequest(
            f"'{param}' has {len(tokens)} tokens, more than the {most} of 'options.num_ctx' "
            f"(got {options.num_ctx})",
            param=param,
        )


def _check_pooling(info: EmbeddingInfo) -> None:
    if info.pooling in ("none", "rank"):
        raise InvalidRequest(
            f"a text has no single vector with the pooling {info.pooling!r}: start the server with "
            "another --pooling"
        )


def _vectors(embedded: Sequence[EmbeddedPrompt], dimensions: int) -> list[msgspec.Raw]:
    """The first numbers of each vector, as the JSON of vectors of length 1.

    The lists of Python's numbers, which take more memory, live shortly.
    """
    kept = slice(dimensions or None)
    vectors = (normalized(one.vectors[:, kept], _EUCLIDEAN)[0] for one in embedded)
    return [msgspec.Raw(encode_json(vector.tolist())) for vector in vectors]
