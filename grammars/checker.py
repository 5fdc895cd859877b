"""The confined process that works on untrusted grammars: `python -m grammars.checker`.

A question is the name of a function, `module:function`, and its arguments in msgpack. The answer
is an `Outcome`. If a function takes too long, or ends the process, that is the verdict.
"""

from __future__ import annotations

import functools
import importlib
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from confined.loop import answer_all
from confined.prepared import split
from grammars import limits
from grammars.deep_stack import call_with_deep_stack
from grammars.errors import GrammarError
from grammars.sandbox import Failed, Outcome, Refused, Returned, sandbox


def _answer(question: bytes) -> bytes:
    name, data = split(question)
    function, arguments = _function(name.decode())
    if not data:
        return b""
    return msgspec.msgpack.encode(_outcome(function, arguments.decode(data)))


@functools.cache
def _function(name: str) -> tuple[Callable[..., Any], msgspec.msgpack.Decoder[Any]]:
    """A function, and the reader of its arguments."""
    module, _, attribute = name.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    types = typing.get_type_hints(function)
    types.pop("return")
    return function, msgspec.msgpack.Decoder(tuple[tuple(types.values())])  # type: ignore[misc]


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    try:
        return Returned(msgspec.Raw(msgspec.msgpack.encode(function(*arguments))))
    except GrammarError as error:
        return Refused(error.message, error.path, type(error).__name__)
    except RecursionError:
        return Refused("it is nested too deeply")
    except MemoryError:
        raise
    except Exception as error:
        return Failed(repr(error))


def main() -> None:
    """Answer questions until the parent is gone."""
    sandbox.is_inside = True
    call_with_deep_stack(lambda: answer_all(_answer, memory_bytes=limits.MAX_CHECKER_BYTES))


if __name__ == "__main__":
    main()
