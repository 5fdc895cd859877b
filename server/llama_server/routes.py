"""The endpoints of llama-server's dialect."""

from __future__ import annotations

from server.endpoints import PLAIN_TEXT, STREAMABLE, Endpoint, Query, get, post
from server.llama_server.completion_request import CompletionRequest
from server.llama_server.completions import create_completion
from server.llama_server.grammars import list_grammars
from server.llama_server.health import health, livez, readyz
from server.llama_server.infill import InfillRequest, create_infill
from server.llama_server.lora_adapters import list_adapters, set_adapters
from server.llama_server.metrics import get_metrics
from server.llama_server.models import list_models, retrieve_model
from server.llama_server.props import get_props, set_props
from server.llama_server.root import get_root
from server.llama_server.slot_actions import ACTIONS, SlotFile, change_slot
from server.llama_server.slots import get_slots
from server.llama_server.tokens import DetokenizeRequest, TokenizeRequest, detokenize, tokenize
from server.model.adapters import LoraScales

PUBLIC_PATHS = ("/", "/health", "/v1/health", "/livez", "/readyz")
"""Paths that need no API key, because probes have none. Nothing there is secret."""

ROOT = get(get_root, "/")
"""Answers at the root, unless the operator's own files do."""

ENDPOINTS = (
    get(health, "/health", "/v1/health"),
    get(livez, "/livez"),
    get(readyz, "/readyz"),
    get(get_metrics, "/metrics", media=(PLAIN_TEXT,)),
    Endpoint(
        ("/props",),
        {"GET": get_props, "POST": set_props},
        admin_methods=frozenset({"POST"}),
        by_model=True,
    ),
    get(get_slots, "/slots", by_model=True),
    Endpoint(
        ("/slots/{id}",),
        {"POST": change_slot},
        admin_methods=frozenset({"POST"}),
        bodies={"POST": SlotFile},
        query=(Query("action", "What to do with the slot.", ACTIONS, is_required=True),),
        by_model=True,
    ),
    Endpoint(
        ("/lora-adapters",),
        {"GET": list_adapters, "POST": set_adapters},
        admin_methods=frozenset({"POST"}),
        bodies={"POST": LoraScales},
        by_model=True,
    ),
    get(list_models, "/models", "/v1/models"),
    get(retrieve_model, "/models/{model:path}", "/v1/models/{model:path}"),
    get(list_grammars, "/v1/grammars"),
    post(
        create_completion,
        "/completion",
        "/completions",
        body=CompletionRequest,
        media=STREAMABLE,
        is_queued=True,
    ),
    post(create_infill, "/infill", body=InfillRequest, media=STREAMABLE, is_queued=True),
    post(tokenize, "/tokenize", body=TokenizeRequest, by_model=True),
    post(detokenize, "/detokenize", body=DetokenizeRequest, by_model=True),
)
