"""`python lifeline.py COMMAND ...`: runs a command until standard input closes.

A replica holds the other end. However the replica ends, its engine ends too, and gives its GPU
back. The program imports nothing of Ray, so that it is small.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

STOP_SECONDS = 90.0
"""What the command has to end by itself."""


def main(command: list[str]) -> int:
    """Run the command; returns its exit status."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_stop_at_end, args=(process,), daemon=True).start()
    return process.wait()


def _stop_at_end(process: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1024):
        pass
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
