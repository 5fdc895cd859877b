"""Runs functions with large stacks, for code that recurses as deep as its input nests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
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

    with _large_stacks():
        thread = threading.Thread(target=run)
        thread.start()
    thread.join()
    return result.result()


class DeepThreads:
    """A few threads with large stacks, which exist from the start on. Thread-safe.

    A thread costs more than a short call. Where memory is short it may never begin, and whoever
    started it would wait for ever. What a call has touched of a stack stays in memory.
    """

    def __init__(self, num_threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(num_threads, name)
        all_there = threading.Barrier(num_threads)
        with _large_stacks():
            wait([self._threads.submit(all_there.wait) for _ in range(num_threads)])

    def call(self, function: Callable[[], _T]) -> _T:
        """Return what `function` returns, or raise what `function` raises, once a thread is free.

        The function must not call this.
        """
        return self._threads.submit(function).result()


@contextmanager
def _large_stacks() -> Iterator[None]:
    """Threads that start within the block have large stacks."""
    with _lock:
        before = threading.stack_size(STACK_BYTES)
        try:
            yield
        finally:
            threading.stack_size(before)
