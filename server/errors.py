"""The errors of requests, and the only place that picks HTTP status codes.

ApiError
├── InvalidRequest        400 invalid_request_error
│   └── ContextExceeded   400 exceed_context_size_error
├── Unauthenticated       401 authentication_error
├── Forbidden             403 permission_error
├── NotFound              404 not_found_error
├── MethodNotAllowed      405 invalid_request_error
├── BodyTooLarge          413 invalid_request_error
├── UnsupportedEncoding   415 invalid_request_error (adds Accept-Encoding)
├── Overloaded            429 rate_limit_error (adds Retry-After)
├── EngineFailed          500 server_error
├── NotSupported          501 not_supported_error
├── Unavailable           503 unavailable_error
│   └── NotLoaded         503 unavailable_error (adds Retry-After)
└── TimedOut              504 timeout_error
"""

from __future__ import annotations

from typing import Any, ClassVar

MAX_TEXT = 2000
"""Characters of a message and of a field's path: both quote what the client sent."""


class ApiError(Exception):
    """An error that the client gets, in OpenAI's and llama-server's shape."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.was_admitted = False
        """Whether the error ended an admitted answer, instead of refusing a request."""

    @property
    def reason(self) -> str:
        """The word under which metrics count the error."""
        return self.kind.removesuffix("_error")

    @property
    def details(self) -> dict[str, Any]:
        """Further fields of the error object."""
        return {}

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the error response."""
        return {}

    def body(self) -> dict[str, Any]:
        """The JSON body, for a response or for a stream's error event."""
        error = {
            "code": self.status,
            "message": _short(self.message),
            "type": self.kind,
            "param": None if self.param is None else _short(self.param),
            **self.details,
        }
        return {"error": error}


def _short(text: str) -> str:
    """The text, cut where it would only repeat a large body."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


class InvalidRequest(ApiError):
    """The request is wrong, whatever the server's state; `param` is the path to the field."""

    status = 400
    kind = "invalid_request_error"


class ContextExceeded(InvalidRequest):
    """The prompt leaves no room for an answer in a slot's context."""

    kind = "exceed_context_size_error"

    def __init__(
        self, n_prompt_tokens: int, n_ctx: int, *, param: str = "prompt", at_least: bool = False
    ) -> None:
        """`at_least`: the prompt was not tokenized; the number is a lower bound."""
        super().__init__(
            f"the request ({'at least ' * at_least}{n_prompt_tokens} tokens) exceeds the available "
            f"context size ({n_ctx} tokens), which its prompt and answer share",
            param=param,
        )
        self.n_prompt_tokens = n_prompt_tokens
        self.n_ctx = n_ctx

    @property
    def details(self) -> dict[str, Any]:
        return {"n_prompt_tokens": self.n_prompt_tokens, "n_ctx": self.n_ctx}


class Unauthenticated(ApiError):
    """No API key, or a key that the server doesn't know."""

    status = 401
    kind = "authentication_error"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(ApiError):
    """The key is known, but may not do this."""

    status = 403
    kind = "permission_error"


class NotFound(ApiError):
    """No such route, model or slot."""

    status = 404
    kind = "not_found_error"


class MethodNotAllowed(ApiError):
    """The route exists, but not for this method."""

    status = 405
    kind = "invalid_request_error"

    def __init__(self, message: str, *, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        return {"Allow": self.allowed}


class BodyTooLarge(ApiError):
    """The body is larger than the server reads."""

    status = 413
    kind = "invalid_request_error"


class UnsupportedEncoding(ApiError):
    """The body is compressed in a way that the server can't unpack."""

    status = 415
    kind = "invalid_request_error"

    def __init__(self, encoding: str) -> None:
        super().__init__(f"a body with Content-Encoding {encoding} can't be read; use gzip")

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept-Encoding": "gzip, deflate"}


class Overloaded(ApiError):
    """The queue is full or a limit is used up; `retry_after` is in whole seconds."""

    status = 429
    kind = "rate_limit_error"

    def __init__(self, message: str, *, retry_after: int, reason: str = "rate_limit") -> None:
        """`reason` names the limit for metrics."""
        super().__init__(message)
        self.retry_after = retry_after
        self._reason = reason

    @property
    def reason(self) -> str:
        return self._reason

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)}


class EngineFailed(ApiError):
    """The engine gave up on a sequence that it had accepted."""


class NotSupported(ApiError):
    """A feature that this server was started without, or that the model lacks."""

    status = 501
    kind = "not_supported_error"


class Unavailable(ApiError):
    """The server loads, drains or has no engine; a later retry makes sense."""

    status = 503
    kind = "unavailable_error"


class NotLoaded(Unavailable):
    """The model could not be loaded; `retry_after` whole seconds later another load is tried."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)}


class TimedOut(ApiError):
    """The answer took longer than the server lets one take."""

    status = 504
    kind = "timeout_error"
