"""The door: takes requests over HTTP, and streams the answers of replicas through unchanged."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from llamapack_ray.call import OF_SERVE, Call, Head, kept, prompt_of
from llamapack_ray.failures import last_words, refusal

logger = logging.getLogger("ray.serve")

ATTEMPTS = 4
"""Replicas that may get a request of which the client has no answer yet."""

MAX_BODY = 64 << 20
"""Bytes of a request's body that are read; engines have a smaller limit of their own."""

LOST = (RayError, RayServeException)


class Ingress:
    """Serve makes one, or several behind Ray's proxies."""

    def __init__(self, replicas: Any) -> None:
        """`replicas` is Serve's handle of the replicas' deployment."""
        self._answers = replicas.options(stream=True, method_name="answer")

    async def __call__(self, request: Request) -> Response:
        """A replica's answer to a request."""
        call = await _read(request)
        if call is None:
            return PlainTextResponse("the body is too large", 413)
        path = request.url.path
        for _ in range(ATTEMPTS):
            answer = self._ask(call)
            pieces = aiter(answer)
            try:
                head = await anext(pieces)
                # Until the client has something, another replica can take the request.
                first = await anext(pieces, b"")
            except LOST as error:
                logger.warning("a replica did not answer %s: %s", path, type(error).__name__)
                continue
            streamed = StreamingResponse(_body(path, head, first, answer), head.status)
            return _with_headers(streamed, head)
        head, body = refusal(path)
        return _with_headers(Response(body, head.status), head)

    def _ask(self, call: Call) -> Any:
        # The prefix-aware router wants a prompt in the first argument, if there is an argument.
        if call.prompt:
            return self._answers.remote(call)
        return self._answers.remote(call=call)


async def _read(request: Request) -> Call | None:
    """The request; None if its body is too large."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            return None
    query = request.url.query
    return Call(
        request.method,
        request.url.path + (f"?{query}" if query else ""),
        kept(iter(request.headers.items())),
        bytes(body),
        prompt_of(bytes(body)),
    )


async def _body(path: str, head: Head, first: bytes, answer: Any) -> AsyncIterator[bytes]:
    """The body in pieces; the replica is told if the client leaves."""
    try:
        yield first
        async for piece in answer:
            yield piece
    except LOST as error:
        logger.warning("a replica was lost in an answer to %s: %s", path, type(error).__name__)
        words = last_words(path, head.content_type)
        if words is None:
            raise
        yield words
    finally:
        answer.cancel()


def _with_headers(response: Response, head: Head) -> Response:
    """The response with exactly these headers, and those that Serve sets."""
    response.raw_headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in head.headers
        if name.lower() not in OF_SERVE
    ]
    return response
