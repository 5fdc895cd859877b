"""llama.cpp's log lines in Python's logging, where the operator's settings apply to them."""

from __future__ import annotations

import ctypes
import logging
from typing import ClassVar

from llama_cpp import llama_cpp as lib

logger = logging.getLogger("llama.cpp")

LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR}
"""ggml's debug, info, warning and error; its info lines are what we call debug."""


class LogBridge:
    """Receives llama.cpp's log lines; `last_error` explains a load that returned nothing."""

    _installed: ClassVar[LogBridge | None] = None

    def __init__(self) -> None:
        self.last_error = ""
        self._level = logging.DEBUG
        self._callback = lib.llama_log_callback(self._log)

    def install(self) -> None:
        """Take over llama.cpp's log, for the rest of the process or until another does."""
        lib.llama_log_set(self._callback, ctypes.c_void_p(0))
        # llama.cpp holds no reference: to call what was collected would crash the process.
        LogBridge._installed = self

    def _log(self, level: int, text: bytes, _: object) -> None:
        self._level = LEVELS.get(level, self._level)  # a continued line keeps its level
        line = text.decode(errors="replace").rstrip()
        if self._level >= logging.ERROR and line:
            self.last_error = line
        if line.strip("."):
            logger.log(self._level, "%s", line)
