"""Outermost but for the log: opens the visit, tells of limits in headers, and closes the books."""

from __future__ import annotations

import time
from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.access.access_record import AccessRecord, access_record
from server.access.audit_log import AuditEntry, AuditLog
from server.access.rate_headers import rate_headers
from server.http.status import CLIENT_GONE
from server.observability.request_id import current_request_id


class RecordAccess:
    """Every answer to a key with limits has the `x-ratelimit-*` headers, refusals included."""

    def __init__(
        self, app: ASGIApp, *, audit: AuditLog | None = None, unrecorded: Collection[str] = ()
    ) -> None:
        """Requests for the `unrecorded` paths don't get into the audit log."""
        self._app = app
        self._audit = audit
        self._unrecorded = frozenset(unrecorded)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        visit = access_record(scope)
        visit.is_audited = self._audit is not None
        status = CLIENT_GONE

        async def send_with_limits(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if visit.account is not None:
                    headers = rate_headers(visit.account, time.monotonic())
                    MutableHeaders(scope=message).update(headers)
            await send(message)

        try:
            await self._app(scope, receive, send_with_limits)
        finally:
            visit.leave()
            if self._audit is not None and scope["path"] not in self._unrecorded:
                self._audit.write(_entry(scope, visit, status))
        return None


def _entry(scope: Scope, visit: AccessRecord, status: int) -> AuditEntry:
    client = scope.get("client")
    return AuditEntry(
        time=time.time(),
        request_id=current_request_id.get(),
        key=None if visit.key is None else visit.key.name,
        client=client[0] if client else "",
        method=scope["method"],
        path=scope["path"],
        status=status,
        seconds=time.monotonic() - visit.started,
        visit=visit,
    )
