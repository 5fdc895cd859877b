"""Ends the process when it has no memory where nobody can be told.

A request that can't have memory gets an error. A callback of the event loop or a thread that can't
have it leaves something undone for ever: a connection that nobody reads, an answer that nobody
sends. A process in that state looks alive. One that ended is started again: an engine by the API
process, a server by whoever started it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from typing import Any

EXIT_STATUS = 1

logger = logging.getLogger(__name__)


def end_without_memory(loop: asyncio.AbstractEventLoop | None = None) -> None:
    """From now on a `MemoryError` that nothing catches ends the process: one of a thread, of a
    finalizer, or of the event loop if there is one. Other errors are shown as they were."""
    show_thread_error, show_unraisable = threading.excepthook, sys.unraisablehook

    def on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        _end_for(context.get("exception"))
        loop.default_exception_handler(context)

    def on_thread_error(error: threading.ExceptHookArgs) -> None:
        _end_for(error.exc_value)
        show_thread_error(error)

    def on_unraisable(error: sys.UnraisableHookArgs) -> None:
        _end_for(error.exc_value)
        show_unraisable(error)

    if loop is not None:
        loop.set_exception_handler(on_loop_error)
    threading.excepthook = on_thread_error
    sys.unraisablehook = on_unraisable


def _end_for(error: BaseException | None) -> None:
    if not isinstance(error, MemoryError):
        return
    try:
        logger.critical("out of memory: this process ends, so that another can be started")
    finally:
        os._exit(EXIT_STATUS)
