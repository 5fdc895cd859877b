"""The endpoints of llama-server's dialect."""

from __future__ import annotations

from server.endpoints import EVENTS, JSON, PLAIN_TEXT, STREAMABLE, Endpoint, Query, get, post
from server.llama_server.completion_request import CompletionRequest
from server.llama_server.completions import create_completion
from server.llama_server.downloads import delete_model, download_model
from server.llama_server.grammar_check import GrammarCheck, check_grammar
from server.llama_server.grammars import list_grammars
from server.llama_server.health import health, livez, readyz
from server.llama_server.infill import InfillRequest, create_infill
from server.llama_server.listing import list_models, retrieve_model
from server.llama_server.loading import ModelName, follow_models, load_model, unload_model
from server.llama_server.lora_adapters import list_adapters, set_adapters
from server.llama_server.metrics import get_metrics
from server.llama_server.model_fit import get_fit
from server.llama_server.props import get_props, set_props
from server.llama_server.root import get_root
from server.llama_server.slot_actions import ACTIONS, SlotFile, change_slot
from server.llama_server.slots import get_slots
from server.llama_server.tokens import DetokenizeRequest, TokenizeRequest, detokenize, tokenize
from server.model.adapters import LoraScales

PUBLIC_PATHS = ("/", "/health", "/v1/health", "/livez", "/readyz")
"""Paths that need no API key, because probes have none. Nothing there is secret."""

ROOT = get(get_root, "/", media=(JSON, PLAIN_TEXT))
"""Answers at the root, unless the operator's own files do."""

RELOAD = Query("reload", "Read folders and presets again.")
OF_MODEL = Query("model", "The model that is meant, on a server with several.")

ENDPOINTS = (
    get(health, "/health", "/v1/health", query=(OF_MODEL,)),
    get(livez, "/livez"),
    get(readyz, "/readyz"),
    get(get_metrics, "/metrics", media=(PLAIN_TEXT,), query=(OF_MODEL,)),
    Endpoint(
        ("/props",),
        {"GET": get_props, "POST": set_props},
        admin_methods=frozenset({"POST"}),
        by_model=True,
    ),
    get(get_slots, "/slots", by_model=True),
    post(
        change_slot,
        "/slots/{id}",
        body=SlotFile,
        query=(Query("action", "What to do with the slot.", ACTIONS, is_required=True),),
        by_model=True,
        for_admins=True,
    ),
    Endpoint(
        ("/lora-adapters",),
        {"GET": list_adapters, "POST": set_adapters},
        admin_methods=frozenset({"POST"}),
        bodies={"POST": LoraScales},
        by_model=True,
    ),
    get(list_models, "/v1/models", query=(RELOAD,)),
    Endpoint(
        ("/models",),
        {"GET": list_models, "POST": download_model, "DELETE": delete_model},
        admin_methods=frozenset({"POST", "DELETE"}),
        bodies={"POST": ModelName},
        query=(RELOAD, Query("model", "DELETE: the name of the model to remove.")),
    ),
    post(load_model, "/models/load", body=ModelName, is_counted=False, for_admins=True),
    post(unload_model, "/models/unload", body=ModelName, is_counted=False, for_admins=True),
    get(follow_models, "/models/sse", media=(EVENTS,)),
    get(
        get_fit,
        "/models/fit",
        query=(
            Query("model", "The model that is meant."),
            Query("ctx_size", "Tokens of all slots together; 0 is what the model was trained for."),
            Query("parallel", "The number of slots."),
        ),
        for_admins=True,
    ),
    get(retrieve_model, "/models/{model:path}", "/v1/models/{model:path}"),
    get(list_grammars, "/v1/grammars"),
    post(check_grammar, "/v1/grammars/check", body=GrammarCheck),
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
