"""Runs a client as if the shell had started it: its terminal, its signals, its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command to its end. Returns its exit code, or 128 and the signal that ended it."""
    started: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        if started and not _terminal_sends(number):
            started[0].send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        started.append(subprocess.Popen(command, env=dict(environment)))
        code = started[0].wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _terminal_sends(number: int) -> bool:
    """Whether the client has got the signal already: Ctrl-C goes to all of the foreground."""
    if number != signal.SIGINT:
        return False
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
