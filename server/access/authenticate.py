"""Lets only those in who know one of the keys, and no more of them than their limits allow."""

from __future__ import annotations

import time
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.access.access_record import access_record
from server.access.key_ring import KeyRing
from server.errors import Unauthenticated


class Authenticate:
    """Asks for a key except on public paths; limits count for what is posted.

    Reading (metrics, slots, models) is free, so that monitoring uses nothing up.
    """

    def __init__(self, app: ASGIApp, *, keys: KeyRing, public_paths: Collection[str] = ()) -> None:
        self._app = app
        self._keys = keys
        self._public_paths = frozenset(public_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_http = scope["type"] == "http"
        if is_http and not self._keys.is_empty and scope["path"] not in self._public_paths:
            self._admit(scope)
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        """Note in the visit whose it is. Raises `Unauthenticated` and `Overloaded`."""
        given = _given_key(Headers(scope=scope))
        if given is None:
            raise Unauthenticated(
                "an API key is needed: send it as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'"
            )
        holder = self._keys.find(given)
        if holder is None:
            raise Unauthenticated("Invalid API Key")
        visit = access_record(scope)
        visit.key, visit.account = holder.key, holder.account
        if scope["method"] == "POST":
            visit.enter(time.monotonic())


def _given_key(headers: Headers) -> bytes | None:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip().encode("latin-1")
    key = headers.get("x-api-key")
    return None if key is None else key.encode("latin-1")
