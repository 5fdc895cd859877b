"""The endpoints for embeddings and scores, of all dialects."""

from __future__ import annotations

from server.embeddings.handlers import create_embeddings, create_native_embeddings
from server.embeddings.request import EmbeddingRequest
from server.embeddings.rerank import RerankRequest, rerank
from server.endpoints import post

ENDPOINTS = (
    post(create_embeddings, "/v1/embeddings", body=EmbeddingRequest, is_queued=True),
    post(
        create_native_embeddings,
        "/embedding",
        "/embeddings",
        body=EmbeddingRequest,
        is_queued=True,
    ),
    post(
        rerank,
        "/rerank",
        "/reranking",
        "/v1/rerank",
        "/v1/reranking",
        body=RerankRequest,
        is_queued=True,
    ),
)
