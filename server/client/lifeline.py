"""Ends a server with the command that has started it, however that ends."""

from __future__ import annotations

import os
import signal
import threading


def hold() -> None:
    """Stop this process, as SIGTERM does, when the other end of standard input is closed."""
    threading.Thread(target=_wait, name="lifeline", daemon=True).start()


def _wait() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
