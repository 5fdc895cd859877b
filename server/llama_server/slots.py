"""`GET /slots`: the state of each slot."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from protocol.commands import UNLIMITED
from protocol.messages import ModelInfo, SlotState
from server.context import context_of
from server.errors import NotSupported, Unavailable
from server.http.json_response import JsonResponse
from server.model.adapters import lora_json
from server.requests.generation_settings import default_settings


async def get_slots(request: Request) -> Response:
    """All slots. With `?fail_on_no_slot=1`, an error if no slot is idle."""
    context = context_of(request)
    if not context.settings.slots:
        raise NotSupported("this server was started with --no-slots")
    model = context.engine.model
    report = await context.engine.inspect()
    must_have_idle = request.query_params.get("fail_on_no_slot") not in (None, "", "0")
    if must_have_idle and all(slot.request_id is not None for slot in report.slots):
        raise Unavailable("no slot available")
    speculates = bool(context.settings.spec_type)
    return JsonResponse([_slot(state, model, speculates) for state in report.slots])


def _slot(state: SlotState, model: ModelInfo, speculates: bool) -> dict[str, Any]:
    slot: dict[str, Any] = {
        "id": state.slot,
        "n_ctx": model.n_ctx_slot,
        "speculative": speculates,
        "is_processing": state.request_id is not None,
        "n_prompt_tokens": state.num_prompt_tokens,
        "n_prompt_tokens_processed": state.num_prompt_tokens_computed,
        "n_prompt_tokens_cache": state.num_cached_tokens,
    }
    if state.request_id is None:
        return slot
    slot["id_task"] = state.request_id
    if state.sampling is not None:
        slot["params"] = default_settings(
            state.sampling, n_predict=state.max_tokens, speculation=state.speculation
        )
        slot["params"]["lora"] = lora_json(model.adapters, state.lora)
    slot["next_token"] = [_next_token(state)]
    return slot


def _next_token(state: SlotState) -> dict[str, Any]:
    unlimited = state.max_tokens == UNLIMITED
    remaining = -1 if unlimited else max(state.max_tokens - state.num_generated_tokens, 0)
    return {
        "has_next_token": remaining != 0,
        "n_remain": remaining,
        "n_decoded": state.num_generated_tokens,
    }
