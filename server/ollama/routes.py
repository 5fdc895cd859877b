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

ENDPOINTS = (
    post(create_chat, f"{PREFIX}/chat", body=OllamaChatRequest, media=_STREAMABLE),
    post(create_completion, f"{PREFIX}/generate", body=OllamaGenerateRequest, media=_STREAMABLE),
    post(create_embeddings, f"{PREFIX}/embed", body=OllamaEmbedRequest),
    post(create_embedding, f"{PREFIX}/embeddings", body=OllamaEmbeddingsRequest),
    get(get_version, f"{PREFIX}/version"),
    get(list_models, f"{PREFIX}/tags"),
    get(list_loaded, f"{PREFIX}/ps"),
    post(show_model, f"{PREFIX}/show", body=ShowRequest, is_counted=False),
    post(
        create_model,
        f"{PREFIX}/create",
        body=CreateRequest,
        media=_STREAMABLE,
        for_admins=True,
    ),
    post(copy_model, f"{PREFIX}/copy", body=CopyRequest, for_admins=True),
    post(pull_model, f"{PREFIX}/pull", body=PullRequest, media=_STREAMABLE, for_admins=True),
    Endpoint(
        (f"{PREFIX}/delete",),
        {"DELETE": delete_model},
        admin_methods=frozenset({"DELETE"}),
        bodies={"DELETE": DeleteRequest},
    ),
    post(push_model, f"{PREFIX}/push", body=PushRequest, for_admins=True),
    Endpoint(
        (f"{PREFIX}/blobs/{{digest}}",),
        {"GET": has_blob, "POST": create_blob},
        admin_methods=frozenset({"POST"}),
    ),
)
