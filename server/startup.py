"""What stops the server from starting.

StartupError
└── ModelFileError     the model can't be found or used
"""

from __future__ import annotations


class StartupError(Exception):
    """The server can't start; the message is one line for the operator."""


class ModelFileError(StartupError):
    """The model can't be used; the message is one line that says which file and why."""
