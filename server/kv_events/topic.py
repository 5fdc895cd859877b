"""The topics of a server's events: routers take from them who holds the blocks."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

_SOMEWHERE = ("192.0.2.1", 9)
"""An address that nobody has. Nothing is sent there: the system only chooses a route."""


def place_of(template: str, sockets: Sequence[socket.socket]) -> str:
    """The topic of any model, with the address of the first TCP socket for {host} and {port}.

    A server that listens on all addresses is known by the one that its packets leave from.
    """
    host, port = _address(sockets)
    return template.replace("{host}", host).replace("{port}", str(port))


def topic_of(place: str, model: str) -> str:
    """The topic of one model. Its name may have braces, so it comes last."""
    return place.replace("{model}", model)


def _address(sockets: Sequence[socket.socket]) -> tuple[str, int]:
    for sock in sockets:
        if sock.family != socket.AF_UNIX:
            host, port = sock.getsockname()[:2]
            bare = host.partition("%")[0]
            return (_own_address() if ipaddress.ip_address(bare).is_unspecified else bare), port
    return socket.gethostname(), 0


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE)
        except OSError:  # no route: the machine is alone
            return socket.gethostname()
        host: str = probe.getsockname()[0]
        return host
