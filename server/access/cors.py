"""The CORS middleware: which web pages of other origins may use the server."""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from config import ServeSettings
from server.access import rate_headers


def cors_middleware(settings: ServeSettings) -> list[Middleware]:
    """The middleware, or nothing if no origins are set: browsers then keep foreign pages out."""
    if not settings.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=settings.cors_methods,
            allow_headers=settings.cors_headers,
            # With any origin allowed, credentials would let every web page act for its user.
            allow_credentials=settings.cors_credentials and "*" not in settings.cors_origins,
            expose_headers=[
                "X-Request-Id",
                "Retry-After",
                "Llamapack-Left-To-Model",
                *rate_headers.NAMES,
            ],
        )
    ]
