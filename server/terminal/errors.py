"""What stops a command that talks to a server."""

from __future__ import annotations


class TerminalError(Exception):
    """The message is one line for the user."""


class AnswerError(TerminalError):
    """The server has refused or broken off an answer; the chat can go on."""
