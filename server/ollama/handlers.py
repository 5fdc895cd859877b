"""`POST /api/chat` and `POST /api/generate`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from server.answers.respond import respond
from server.context import ServerContext
from server.ollama.answer import AnswerForm, OllamaLines, WholeOllamaAnswer
from server.ollama.plan import OllamaPlan, plan_ollama_chat, plan_ollama_completion
from server.ollama.recipes import Recipe
from server.ollama.request import AnswerRequest, OllamaChatRequest, OllamaGenerateRequest
from server.ollama.serving import in_queue, load_or_unload, recipe_of, user_of, with_model
from server.requests.body import read_body
from server.requests.threads import in_thread

BodyT = TypeVar("BodyT", bound=AnswerRequest)

Plan = Callable[[BodyT, Recipe, ServerContext, str | None], OllamaPlan]
"""Plans the answer to a body, by the recipe of its model and for a user."""


@in_queue
async def create_chat(request: Request) -> Response:
    """Answer a chat, as lines of JSON or in one piece."""
    return await _create(request, OllamaChatRequest, plan_ollama_chat)


@in_queue
async def create_completion(request: Request) -> Response:
    """Answer a prompt, or fill the gap before a suffix, as lines of JSON or in one piece."""
    return await _create(request, OllamaGenerateRequest, plan_ollama_completion)


async def _create(request: Request, kind: type[BodyT], plan: Plan[BodyT]) -> Response:
    started = time.monotonic_ns()
    body = await read_body(request, kind)
    recipe = recipe_of(request, body.model)
    if body.is_empty:
        is_chat = isinstance(body, OllamaChatRequest)
        return await load_or_unload(request, body, recipe.base, is_chat=is_chat)

    async def answer(request: Request, context: ServerContext) -> Response:
        loaded = time.monotonic_ns()
        arguments = (body, recipe, context, user_of(request))
        planned = await in_thread(request, plan, *arguments, is_structured=body.is_structured)
        return await _answered(request, body, context, planned, started, loaded)

    return await with_model(request, body, recipe.base, answer)


async def _answered(
    request: Request,
    body: AnswerRequest,
    context: ServerContext,
    plan: OllamaPlan,
    started: int,
    loaded: int,
) -> Response:
    gives_tokens = isinstance(body, OllamaGenerateRequest) and not body.raw
    form = AnswerForm(
        model=body.model,
        is_chat=isinstance(body, OllamaChatRequest),
        tokenizer=context.tokenizer,
        started=started,
        loaded=loaded,
        is_parsed=plan.is_parsed,
        max_calls=plan.max_calls,
        with_logprobs=body.logprobs,
        prompt=plan.prompt if gives_tokens else None,
    )
    return await respond(
        request,
        plan.body,
        [plan.sequence],
        context,
        whole=lambda: WholeOllamaAnswer(form),
        streamed=lambda: OllamaLines(form),
    )
