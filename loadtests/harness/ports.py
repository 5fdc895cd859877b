"""Ports for processes that are told where to listen, and do so later."""

from __future__ import annotations

import random
import socket

_OWN = range(20_000, 32_000)
"""Below the ports that Linux gives to whoever asks for any: connections, other servers."""


def free_port() -> int:
    """A TCP port of the loopback interface that is free, and most likely stays so for a while."""
    # The seed of `random` may be the same in several processes.
    for port in random.SystemRandom().sample(_OWN, 100):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
