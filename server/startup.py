"""The one error of starting the server."""

from __future__ import annotations


class StartupError(Exception):
    """The server can't start; the message is one line for the operator."""
