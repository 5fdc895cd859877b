"""Signals for programs that tests start as if from a terminal."""

from __future__ import annotations

import signal


def heed_signals() -> None:
    """Let the program that is about to start heed Ctrl-C and the end of its terminal.

    A shell's background jobs ignore SIGINT, what `nohup` runs ignores SIGHUP, and children inherit
    that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
