"""ASGI middleware that makes the access record, adds x-ratelimit headers and writes the audit line.

It stands second, after the request log.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from functools import partial

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.access.access_record import AccessRecord, access_record
from server.access.audit_log import AuditEntry, AuditLog
from server.access.rate_headers import rate_headers
from server.http.status import CLIENT_GONE
from server.observability.request_id import current_request_id


class RecordAccess:
    """Every answer to a key with a quota has the `x-ratelimit-*` headers, refusals included."""

    def __init__(
        self, app: ASGIApp, *, audit: AuditLog | None = None, unrecorded: Collection[str] = ()
    ) -> None:
        """Requests for the `unrecorded` paths get no audit line."""
        self._app = app
        self._audit = audit
        self._unrecorded = frozenset(unrecorded)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        record = access_record(scope)
        audit = self._audit
        record.is_audited = audit is not None
        status = CLIENT_GONE

        async def send_with_limits(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if record.account is not None:
                    headers = rate_headers(record.account, time.monotonic())
                    MutableHeaders(scope=message).update(headers)
            await send(message)

        try:
            await self._app(scope, receive, send_with_limits)
        finally:
            if audit is not None and scope["path"] not in self._unrecorded:
                entry = partial(_entry, scope, record, status, current_request_id.get())
                record.on_over = lambda: audit.write(entry())
            record.leave()
        return None


def _entry(scope: Scope, record: AccessRecord, status: int, request_id: str) -> AuditEntry:
    client = scope.get("client")
    return AuditEntry(
        time=time.time(),
        request_id=request_id,
        key=None if record.key is None else record.key.name,
        client=client[0] if client else "",
        method=scope["method"],
        path=scope["path"],
        status=status,
        seconds=time.monotonic() - record.started,
        record=record,
    )
