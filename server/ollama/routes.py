"""The endpoints of Ollama's dialect."""

from __future__ import annotations

from server.endpoints import JSON, Endpoint, get, post
from server.ollama.answer import LINES
from server.ollama.downloads import DeleteRequest, PullRequest, delete_model, pull_model
from server.ollama.embed import create_embedding, create_embeddings
from server.ollama.handlers import create_chat, create_completion
from server.ollama.listing import ShowRequest, get_version, list_loaded, list_models, show_model
from server.ollama.making import (
    CopyRequest,
    CreateRequest,
    PushRequest,
    copy_model,
    create_blob,
    create_model,
    has_blob,
    push_model,
)
from server.ollama.request import (
    OllamaChatRequest,
    OllamaEmbeddingsRequest,
    OllamaEmbedRequest,
    OllamaGenerateRequest,
)

PREFIX = "/api"
"""All paths that begin so answer errors in Ollama's shape."""

_STREAMABLE = (JSON, LINES)
_POST = frozenset({"POST"})

ENDPOINTS = (
    post(create_chat, f"{PREFIX}/chat", body=OllamaChatRequest, media=_STREAMABLE),
    post(create_completion, f"{PREFIX}/generate", body=OllamaGenerateRequest, media=_STREAMABLE),
    post(create_embeddings, f"{PREFIX}/embed", body=OllamaEmbedRequest),
    post(create_embedding, f"{PREFIX}/embeddings", body=OllamaEmbeddingsRequest),
    get(get_version, f"{PREFIX}/version"),
    get(list_models, f"{PREFIX}/tags"),
    get(list_loaded, f"{PREFIX}/ps"),
    post(show_model, f"{PREFIX}/show", body=ShowRequest, is_counted=False),
    Endpoint(
        (f"{PREFIX}/create",),
        {"POST": create_model},
        admin_methods=_POST,
        bodies={"POST": CreateRequest},
        media=_STREAMABLE,
    ),
    Endpoint(
        (f"{PREFIX}/copy",),
        {"POST": copy_model},
        admin_methods=_POST,
        bodies={"POST": CopyRequest},
    ),
    Endpoint(
        (f"{PREFIX}/pull",),
        {"POST": pull_model},
        admin_methods=_POST,
        bodies={"POST": PullRequest},
        media=_STREAMABLE,
    ),
    Endpoint(
        (f"{PREFIX}/delete",),
        {"DELETE": delete_model},
        admin_methods=frozenset({"DELETE"}),
        bodies={"DELETE": DeleteRequest},
    ),
    Endpoint(
        (f"{PREFIX}/push",),
        {"POST": push_model},
        admin_methods=_POST,
        bodies={"POST": PushRequest},
    ),
    Endpoint(
        (f"{PREFIX}/blobs/{{digest}}",),
        {"GET": has_blob, "POST": create_blob},
        admin_methods=_POST,
    ),
)
