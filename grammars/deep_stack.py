"""A thread with a large stack, for code that recurses as deep as its input is nested."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")

STACK_BYTES = 256 << 20
"""Address space; only the pages that are touched take memory."""

_lock = threading.Lock()


def call_with_deep_stack(function: Callable[[], _T]) -> _T:
    """Return what `function` returns, or raise what it raises.

    llguidance recurses over references between rules, some 10 kB a level: a few hundred levels
    overflow an ordinary stack, which ends the process.
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
