"""The addresses of servers: as users write them, and as settings give them."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from config import ServeSettings
from server.startup import CommandError

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""What a client calls a server that listens on all addresses."""


def base_url(text: str) -> str:
    """The address without what clients append to it. Raises `CommandError`."""
    url = text.rstrip("/").removesuffix("/v1")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CommandError(f"--url must be an address such as http://127.0.0.1:8080, got {text}")
    return url


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own, by number or as localhost."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_of(settings: ServeSettings) -> str:
    """Where clients find a server with these settings. Raises `CommandError`."""
    hosts = [host for host in settings.host if not host.endswith(".sock")]
    if not hosts:
        raise CommandError("clients can't use a UNIX socket: give --host an address too")
    host = _ANY.get(hosts[0], hosts[0])
    shown = f"[{host}]" if ":" in host else host
    scheme = "http" if settings.ssl_cert_file is None else "https"
    return f"{scheme}://{shown}:{settings.port}{settings.api_prefix}"


def placed(settings: ServeSettings) -> ServeSettings:
    """The settings with a free port, unless they name a port. Raises `CommandError`."""
    if "port" in settings.model_fields_set:
        if not settings.port:
            raise CommandError("leave out --port instead of giving 0, to get a free one")
        return settings
    return settings.model_copy(update={"port": _free_port()})


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
