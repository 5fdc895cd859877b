"""ASGI middleware that asks for an API key and counts requests against its quota."""

from __future__ import annotations

import re
import time
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.access.access_record import access_record
from server.access.key_ring import KeyRing
from server.errors import Unauthenticated


class Authenticate:
    """Refuses requests without a known key, except on public paths.

    Only POST requests count against a quota. Monitoring reads metrics, slots and models for free.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyRing,
        public_paths: Collection[str] = (),
        uncounted: Collection[re.Pattern[str]] = (),
    ) -> None:
        """A request for an `uncounted` path doesn't count: it acts on what counts already."""
        self._app = app
        self._keys = keys
        self._public_paths = frozenset(public_paths)
        self._uncounted = tuple(uncounted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_http = scope["type"] == "http"
        if is_http and not self._keys.is_empty and scope["path"] not in self._public_paths:
            self._admit(scope)
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        """Note the key in the record. Raises `Unauthenticated` and `Overloaded`."""
        given = _given_key(Headers(scope=scope))
        if given is None:
            raise Unauthenticated(
                "an API key is needed: send it as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'"
            )
        found = self._keys.find(given)
        if found is None:
            raise Unauthenticated("Invalid API Key")
        record = access_record(scope)
        record.key, record.account = found.key, found.account
        path = scope["path"]
        if scope["method"] == "POST" and not any(one.match(path) for one in self._uncounted):
            record.enter(time.monotonic())


def _given_key(headers: Headers) -> bytes | None:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip().encode("latin-1")
    key = headers.get("x-api-key")
    return None if key is None else key.encode("latin-1")
