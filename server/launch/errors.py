"""What stops a launch."""

from __future__ import annotations


class LaunchError(Exception):
    """The client can't be started; the message is one line for its user."""
