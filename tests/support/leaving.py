"""A client that leaves before its answer is complete."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.support.live import DEADLINE


@contextmanager
def asking(
    url: str, path: str, body: object, headers: Mapping[str, str] | None = None
) -> Iterator[socket.socket]:
    """A connection on which a request was sent; it is closed when the block ends.

    What the client waits for before it leaves doesn't depend on the speed of the machine, unlike a
    short timeout, which may be over before the server has read the request.
    """
    parts = urlsplit(url)
    data = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    with socket.create_connection((str(parts.hostname), parts.port or 80)) as connection:
        connection.settimeout(DEADLINE)
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + data)
        yield connection
