"""`GET /slots`: the state of each slot."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from protocol.commands import UNLIMITED, SequenceSpec
from protocol.messages import SlotState
from server.access.sight import sees
from server.context import ServerContext, context_of
from server.errors import NotSupported, Unavailable
from server.http.json_response import JsonResponse
from server.model.adapters import lora_json
from server.requests.generation_settings import default_settings


async def get_slots(request: Request) -> Response:
    """All slots. With `?fail_on_no_slot=1`, an error if no slot is idle."""
    context = context_of(request)
    if not context.settings.slots:
        raise NotSupported("this server was started with --no-slots")
    # An answer may end while the report is on its way, and another may begin.
    specs = context.engine.specs()
    report = await context.engine.inspect()
    specs |= context.engine.specs()
    must_have_idle = request.query_params.get("fail_on_no_slot") not in (None, "", "0")
    if must_have_idle and all(slot.request_id is not None for slot in report.slots):
        raise Unavailable("no slot available")
    speculates = bool(context.settings.spec_type)
    shown = [
        _slot(state, specs.get(state.request_id or 0), request, context, speculates)
        for state in report.slots
    ]
    return JsonResponse(shown)


def _slot(
    state: SlotState,
    spec: SequenceSpec | None,
    request: Request,
    context: ServerContext,
    speculates: bool,
) -> dict[str, Any]:
    """One slot. Of another key's request, only that it runs and how many tokens it has."""
    slot: dict[str, Any] = {
        "id": state.slot,
        "n_ctx": context.engine.model.n_ctx_slot,
        "speculative": speculates,
        "is_processing": state.request_id is not None,
        "n_prompt_tokens": state.num_prompt_tokens,
    }
    if state.request_id is None:
        return slot | _prompt_counts(state)
    slot["id_task"] = state.request_id
    if not sees(request, "" if spec is None else spec.tenant):
        return slot | {"next_token": [{"n_decoded": state.num_generated_tokens}]}
    slot |= _prompt_counts(state)
    if spec is not None:
        slot["params"] = default_settings(
            spec.sampling, n_predict=spec.max_tokens, speculation=spec.speculation
        )
        slot["params"]["lora"] = lora_json(context.engine.model.adapters, spec.lora)
        slot["next_token"] = [_next_token(state, spec.max_tokens)]
    return slot


def _prompt_counts(state: SlotState) -> dict[str, int]:
    """How much of the prompt is there: from this one can guess what was cached, so what it is."""
    return {
        "n_prompt_tokens_processed": state.num_prompt_tokens_computed,
        "n_prompt_tokens_cache": state.num_cached_tokens,
    }


def _next_token(state: SlotState, max_tokens: int) -> dict[str, Any]:
    unlimited = max_tokens == UNLIMITED
    remaining = -1 if unlimited else max(max_tokens - state.num_generated_tokens, 0)
    return {
        "has_next_token": remaining != 0,
        "n_remain": remaining,
        "n_decoded": state.num_generated_tokens,
    }
