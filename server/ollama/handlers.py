"""`POST /api/chat` and `POST /api/generate`."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from server.answers.respond import respond
from server.context import ServerContext
from server.ollama.answer import AnswerForm, OllamaLines, WholeOllamaAnswer
from server.ollama.plan import OllamaPlan, plan_ollama_chat, plan_ollama_completion
from server.ollama.request import AnswerRequest, OllamaChatRequest, OllamaGenerateRequest
from server.ollama.serving import in_queue, load_or_unload, recipe_of, user_of, with_model
from server.requests.body import read_body
from server.requests.threads import in_thread

Plan = Callable[[ServerContext], OllamaPlan]


@in_queue
async def create_chat(request: Request) -> Response:
    """Answer a chat, as lines of JSON or in one piece."""
    started = time.monotonic_ns()
    body = await read_body(request, OllamaChatRequest)
    recipe = recipe_of(request, body.model)
    if body.is_empty:
        return await load_or_unload(request, body, recipe.base, is_chat=True)

    async def answer(request: Request, context: ServerContext) -> Response:
        def plan(context: ServerContext) -> OllamaPlan:
            return plan_ollama_chat(body, recipe, context, user_of(request))

        is_structured = bool(body.tools) or body.format != ""
        return await _answered(request, body, context, plan, started, is_structured=is_structured)

    return await with_model(request, body, recipe.base, answer)


@in_queue
async def create_completion(request: Request) -> Response:
    """Answer a prompt, or fill the gap before a suffix, as lines of JSON or in one piece."""
    started = time.monotonic_ns()
    body = await read_body(request, OllamaGenerateRequest)
    recipe = recipe_of(request, body.model)
    if body.is_empty:
        return await load_or_unload(request, body, recipe.base, is_chat=False)

    async def answer(request: Request, context: ServerContext) -> Response:
        def plan(context: ServerContext) -> OllamaPlan:
            return plan_ollama_completion(body, recipe, context, user_of(request))

        is_structured = body.format != ""
        return await _answered(request, body, context, plan, started, is_structured=is_structured)

    return await with_model(request, body, recipe.base, answer)


async def _answered(
    request: Request,
    body: AnswerRequest,
    context: ServerContext,
    make_plan: Plan,
    started: int,
    *,
    is_structured: bool,
) -> Response:
    loaded = time.monotonic_ns()
    plan = await in_thread(request, make_plan, context, is_structured=is_structured)
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
