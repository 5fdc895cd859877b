"""Runs everything that works on untrusted grammars in confined processes.

llguidance bounds most of its work, but not all of it. Some schemas take minutes and gigabytes, and
deep schemas overflow the stack and end the process. And Python that reads a large schema would
hold the interpreter that all other requests need.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import math
import typing
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

import msgspec

from confined.child import Child, Died, TooSlow
from confined.pool import Pace, Pool, Spent
from confined.prepared import PreparedChild, Question
from grammars import limits
from grammars.errors import GrammarError, TooCostly, UnsupportedKeyword, WrongSchema
from grammars.memo import Memo

QUICK = Pace(cpu_seconds=0.25, wall_seconds=2.5)
"""Time in which nearly all schemas and grammars are built."""

SLOW = Pace(limits.MAX_CHECK_SECONDS, limits.MAX_CHECK_WAIT_SECONDS)

_IMPORT = Pace(cpu_seconds=10.0, wall_seconds=60.0)
"""For importing the module of a function."""

BREACH_SECONDS = 10.0
"""How long a breach of a limit is remembered. A busy machine can cause one, so it is no verdict for
good."""

ResultT = TypeVar("ResultT")
ArgumentsT = TypeVarTuple("ArgumentsT")


class Returned(msgspec.Struct, frozen=True, tag="returned"):
    """What a function returned, in msgpack."""

    value: msgspec.Raw


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A `GrammarError` of a function."""

    message: str
    path: str | None = None
    kind: str = GrammarError.__name__


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A fault of our own."""

    message: str


Outcome = Returned | Refused | Failed

_decode = msgspec.msgpack.Decoder(Outcome).decode
_KINDS = {
    kind.__name__: kind for kind in (GrammarError, WrongSchema, UnsupportedKeyword, TooCostly)
}


class Sandbox:
    """The confined processes, which start on first use, and what they have answered.

    Good results and errors are remembered, for they never change.
    """

    def __init__(self) -> None:
        self.is_inside = False
        """Whether this process is a confined one, which runs the functions itself."""
        self.memo = Memo()
        self.pool: Pool[Question] = Pool(_checker, quick=QUICK, slow=SLOW)

    def start(self) -> None:
        """Start the processes now, so that the first question needn't wait for it."""
        self.pool.start()

    def close(self) -> None:
        """End the processes."""
        self.pool.close()

    def call(self, function: Callable[[*ArgumentsT], ResultT], *arguments: *ArgumentsT) -> ResultT:
        """What a function of a module returns, or the `GrammarError` that it raises.

        Arguments and result are values of msgspec, and the function's annotation tells the type of
        its result. The call blocks. Raises `GrammarError` for a breach of the limits, too, and what
        `Pool.ask` raises.
        """
        if self.is_inside:
            return function(*arguments)
        outcome = _decode(self._answer(function, arguments))
        if isinstance(outcome, Refused):
            raise _KINDS[outcome.kind](outcome.message, outcome.path)
        if isinstance(outcome, Failed):
            raise RuntimeError(f"a confined process failed: {outcome.message}")
        result: ResultT = _decoder(function).decode(outcome.value)
        return result

    def _answer(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
        name = f"{function.__module__}:{function.__qualname__}".encode()
        payload = msgspec.msgpack.encode(arguments)
        key = hashlib.sha256(name + b" " + payload).digest()
        answer = self.memo.get(key)
        if answer is None:
            answer, seconds = self._asked((name, payload))
            self.memo.put(key, answer, seconds)
        return answer

    def _asked(self, question: Question) -> tuple[bytes, float]:
        """The answer, and the seconds for which it holds."""
        try:
            return self.pool.ask(question), math.inf
        except Spent:
            raise TooCostly("the request takes too much time to build its grammars") from None
        except TooSlow:
            reason = f"the grammar takes more than {self.pool.slow.cpu_seconds:g} s to build"
        except Died:
            reason = "the grammar takes too much memory, or is nested too deeply, to build"
        return msgspec.msgpack.encode(Refused(reason, kind=TooCostly.__name__)), BREACH_SECONDS


def _checker(niceness: int) -> PreparedChild:
    return PreparedChild(Child("grammars.checker", niceness=niceness), _IMPORT)


@functools.cache
def _decoder(function: Callable[..., Any]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(typing.get_type_hints(function)["return"])


sandbox = Sandbox()
"""The sandbox of this process."""

atexit.register(sandbox.close)
