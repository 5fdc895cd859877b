"""What stops an estimate."""

from __future__ import annotations

from server.startup import StartupError


class FitError(StartupError):
    """The memory can't be told, or is too small; the message is one line for the operator."""
