"""Bytes on a connection: requests that are nearly HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from loadtests.fuzz.family import Outcome, Place
from loadtests.fuzz.mutation import with_mutations
from loadtests.trials import raw

READ_SECONDS = 0.5
"""A connection that the server keeps open is left after this time: it may wait for more."""

METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "CONNECT", "TRACE", "get", "")
TARGETS = (
    "/",
    "/health",
    "/completion",
    "/v1/models",
    "*",
    "/%2e%2e/",
    "/a\x00",
    "http://x/",
    "/?q",
)
HEADERS = (
    *("Host: localhost", "Host: ", "Host: a\r\nHost: b", "Content-Length: 2", "Content-Length: -1"),
    *("Content-Length: 2\r\nContent-Length: 3", "Content-Length: 99999999999999999999"),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: chunked, identity", "Expect: 100-continue"),
    *("Connection: close", "Connection: upgrade\r\nUpgrade: h2c", "X: " + "y" * 5000, "X : y"),
    *("Content-Encoding: gzip", "Content-Type: application/json", "Authorization: Bearer \xff"),
    *(
        " folded: yes",
        "Trailer: X",
        "Range: bytes=0-1",
        "X-Request-Id: \x01",
        "Origin: null",
        "\x00",
    ),
)
BODIES = (
    *(
        "",
        "{}",
        '{"prompt":"x","n_predict":2}',
        "2\r\n{}\r\n0\r\n\r\n",
        "0\r\n\r\n",
        "-1\r\n{}\r\n",
    ),
    *(
        "2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n",
        "fffffffffffffffff\r\n",
        "2\r\n{}0\r\n\r\n",
        "\x1f\x8b\x08",
    ),
)
WORDS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/9.9",
        b"\x00",
    ),
    *(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\xff",
        b"0\r\n\r\n",
    ),
    *(header.encode("latin-1") + b"\r\n" for header in HEADERS),
)


@st.composite
def _request(draw: DrawFn) -> bytes:
    first = " ".join(
        (
            draw(st.sampled_from(METHODS)),
            draw(st.sampled_from(TARGETS)),
            draw(st.sampled_from(("HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2", ""))),
        )
    )
    headers = draw(st.lists(st.sampled_from(HEADERS), max_size=6))
    text = "\r\n".join((first, *headers, "", "")) + draw(st.sampled_from(BODIES))
    return text.encode("latin-1") * draw(st.sampled_from((1, 1, 1, 2, 50)))


class HttpBytes:
    """Bytes; whatever they are, the next connection is answered."""

    name = "http"
    is_served = True

    def strategy(self, place: Place, seeds: Sequence[bytes]) -> SearchStrategy[bytes]:
        """Requests of odd parts, and mutations."""
        return with_mutations(_request(), seeds, WORDS)

    async def attempt(self, data: bytes, place: Place) -> Outcome:
        """Send the bytes, read what comes, and ask whether the server lives."""
        begun = time.perf_counter()
        answer = await _sent(data, place)
        alive = await raw.send(place.address, "GET", "/livez", timeout_s=60.0)
        seconds = time.perf_counter() - begun
        statuses = [line.split(b" ")[1:2] for line in answer.split(b"\n") if line[:5] == b"HTTP/"]
        shape = b" ".join(part for status in statuses[:4] for part in status).decode("latin-1")
        fault = "" if alive.status == 200 else f"/livez said {alive.status} {alive.error}"
        if "500" in shape:
            fault = f"500: {answer[:300].decode('latin-1')}"
        return Outcome(shape, seconds, fault)


async def _sent(data: bytes, place: Place) -> bytes:
    answer = b""
    try:
        reader, writer = await asyncio.open_connection(place.address.host, place.address.port)
    except OSError:
        return answer
    try:
        async with asyncio.timeout(READ_SECONDS):
            writer.write(data)
            while piece := await reader.read(1 << 16):
                answer += piece
    except (OSError, TimeoutError):
        pass
    finally:
        writer.close()
    return answer
