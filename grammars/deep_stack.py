"""Runs a function in a thread with a large stack, for code that recurses as deep as its input
nests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")

STACK_BYTES = 256 << 20
"""Size of the stack in address space; only touched pages take memory."""

_lock = threading.Lock()


def call_with_deep_stack(function: Callable[[], _T]) -> _T:
    """Return what `function` returns, or raise what `function` raises.

    llguidance recurses over references between rules and takes some 10 kB a level. A few hundred
    levels overflow an ordinary stack, and an overflow ends the process.
    """
    result: Future[_T] = Future()

    def run() -> None:
        try:
            result.set_result(function())
        except BaseException as error:
            result.set_exception(error)

    with _lock:
        before = threading.stack_size(STACK_BYTES)
        try:
            thread = threading.Thread(target=run)
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    return result.result()
