"""The endpoint `GET /openapi.json`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from starlette.requests import Request
from starlette.responses import Response

from server.endpoints import JSON, Endpoint, get
from server.http.json_response import encode_json
from server.openapi.document import document


def description_of(described: Iterable[Endpoint], prefix: str, *, needs_key: bool) -> Endpoint:
    """The endpoint that describes `described` and itself.

    `needs_key` says whether the server asks for API keys. The description is made at the first
    request for it.
    """

    async def get_openapi(request: Request) -> Response:
        """The description of the API."""
        return Response(encoded(), media_type=JSON)

    own = get(get_openapi, "/openapi.json")
    endpoints = [*described, own]

    @cache
    def encoded() -> bytes:
        return encode_json(document(endpoints, prefix, needs_key=needs_key))

    return own
