"""The bridge from llama.cpp's log to Python's logging, where the operator's settings apply."""

from __future__ import annotations

import ctypes
import logging
from typing import ClassVar

from llama_cpp import llama_cpp as lib

logger = logging.getLogger("llama.cpp")

LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR}
"""Python's level for each of ggml's: debug, info, warning, error. ggml's info lines are details,
so they become debug lines."""


class LogBridge:
    """Receives llama.cpp's log lines. `last_error` is the last line at level error: the reason why
    a load failed."""

    _installed: ClassVar[LogBridge | None] = None

    def __init__(self) -> None:
        self.last_error = ""
        self._level = logging.DEBUG
        self._callback = lib.llama_log_callback(self._log)

    def install(self) -> None:
        """Receive llama.cpp's log until the process ends or another bridge is installed."""
        lib.llama_log_set(self._callback, ctypes.c_void_p(0))
        # llama.cpp holds no reference to the callback. Without ours it would be collected, and the
        # next log line would crash the process.
        LogBridge._installed = self

    def _log(self, level: int, text: bytes, _: object) -> None:
        self._level = LEVELS.get(level, self._level)  # a continued line has the last level
        line = text.decode(errors="replace").rstrip()
        if self._level >= logging.ERROR and line:
            self.last_error = line
        if line.strip("."):
            logger.log(self._level, "%s", line)
