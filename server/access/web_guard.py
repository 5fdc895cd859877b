"""ASGI middleware that refuses what pages of other sites make a browser send.

A server without keys trusts whoever reaches it. A browser on this machine reaches it too, and runs
the pages of strangers. Such a page has two ways. Its own name can be made to lead to this machine
(DNS rebinding): then the Host header has its name. And it can post a form to any address: then the
browser says from which origin.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from config import ServeSettings
from server.access.hosts import AllowedHosts, host_name, is_loopback
from server.access.origins import AllowedOrigins
from server.errors import Forbidden

READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing. Browsers keep their answers from pages of other origins."""

OWN_PAGES = frozenset({"same-origin", "none"})
"""What `Sec-Fetch-Site` says of this server's own pages, and of what a user does himself."""


def checked_hosts(settings: ServeSettings, *, is_open: bool) -> AllowedHosts | None:
    """The hosts that a request may name; None means any.

    `is_open` tells that there are no keys, and that only programs of this machine, browsers among
    them, reach the server. Then hosts are checked, and wherever `--allowed-hosts` is given.
    """
    if not (settings.allowed_hosts or is_open):
        return None
    return AllowedHosts((*settings.allowed_hosts, *settings.host))


class WebGuard:
    """Checks the Host header where `hosts` says how, and the origin on a server without keys."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Callable[[], AllowedHosts | None],
        origins: AllowedOrigins,
        is_open: Callable[[], bool],
    ) -> None:
        """`hosts` gives None where any Host is taken. `is_open` tells whether there are no keys."""
        self._app = app
        self._hosts = hosts
        self._origins = origins
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            self._check_host(scope, headers)
            if scope["method"] not in READING and self._is_open():
                self._check_origin(headers)
        await self._app(scope, receive, send)

    def _check_host(self, scope: Scope, headers: Headers) -> None:
        """A request over a UNIX socket comes from no browser, and HTTP/1.0 needs no Host."""
        hosts, server = self._hosts(), scope.get("server")
        if hosts is None or not server or server[1] is None:
            return
        for host in headers.getlist("host"):
            if not hosts.allows(host, own_address=server[0]):
                raise Forbidden(
                    f"this server does not answer to the name {host_name(host)[:100]!r}: add it "
                    "to --allowed-hosts"
                )

    def _check_origin(self, headers: Headers) -> None:
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site in OWN_PAGES or (site is None and origin is None):
            return
        if origin is None or not self._may_post(origin, headers.get("host", "")):
            raise Forbidden(
                f"pages of the origin {(origin or 'null')[:100]!r} may not use this server: add it "
                "to --cors-origins"
            )

    def _may_post(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may post: this machine's own pages, and programs that show
        pages without a site, may."""
        scheme, found, place = origin.lower().partition("://")
        if not found:
            return self._origins.allows(origin)
        if scheme not in ("http", "https") or place == host.lower():
            return True
        name = host_name(place)
        is_local = is_loopback(name) or name == "localhost" or name.endswith(".localhost")
        return is_local or self._origins.allows(origin)
