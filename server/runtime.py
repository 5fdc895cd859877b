"""Puts a server together out of its settings, and runs it."""

from __future__ import annotations

import logging

from config import ServeSettings
from server.startup import StartupError

_log = logging.getLogger("llamapack")


def serve(settings: ServeSettings) -> int:
    """Serve until told to stop; returns the exit code."""
    raise StartupError("not put together yet")
