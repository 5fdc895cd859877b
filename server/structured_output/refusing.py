"""One translation of a grammar's errors into a refusal that names the field."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from grammars.errors import GrammarError
from server.errors import InvalidRequest


@contextmanager
def refusing(param: str) -> Iterator[None]:
    """Turn a `GrammarError` into an `InvalidRequest` about the field `param`."""
    try:
        yield
    except GrammarError as error:
        raise InvalidRequest(f"'{param}' can't be used: {error}", param=param) from error
