"""What a server's answer can end with."""

from __future__ import annotations

from server.startup import CommandError


class AnswerError(CommandError):
    """The server has refused or broken off an answer; the chat can go on."""
