"""Checks untrusted grammars in a separate process.

llguidance bounds most of its work, but not all of it. Some schemas take minutes and gigabytes, and
deep schemas overflow the stack and end the process. That must not be the server's process.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import queue
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path
from threading import Lock, Thread

from grammars import limits
from grammars.checker import read_message, write_message
from grammars.errors import GrammarError

_MAX_VERDICTS = 4096


class Sandbox:
    """One checker process, which starts on first use and restarts after its death.

    The sandbox remembers its last verdicts. Bad verdicts matter most, because they may have taken
    seconds.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._verdicts: OrderedDict[bytes, str] = OrderedDict()
        """By the definition's hash: the reason why it can't be used, or an empty text."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process now, so that the first check needn't wait for its start."""
        with self._lock:
            self._started()

    def check(self, definition: str) -> None:
        """Raise `GrammarError` if llguidance can't use `definition` within the limits.

        The call blocks. Checks run one after the other.
        """
        key = hashlib.sha256(definition.encode()).digest()
        with self._lock:
            reason = self._verdicts.pop(key, None)
            if reason is None:
                reason = self._ask(definition)
            self._verdicts[key] = reason
            if len(self._verdicts) > _MAX_VERDICTS:
                self._verdicts.popitem(last=False)
        if reason:
            raise GrammarError(reason)

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _ask(self, definition: str) -> str:
        process = self._started()
        answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        Thread(target=_exchange, args=(process, definition, answers), daemon=True).start()
        try:
            answer = _await(answers, process.pid)
        except queue.Empty:
            self.close()
            return f"the grammar takes more than {limits.MAX_CHECK_SECONDS} s to build"
        if answer is None:
            self.close()
            return "the grammar takes too much memory, or is nested too deeply, to build"
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # the process was killed, and its pipes are still open
        if self._process is None:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "grammars.checker",
                ],  # import nothing from the working directory
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # a Ctrl-C must reach the server alone, which still has to drain
                start_new_session=True,
                # The child has to find its packages where this process found them.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        return self._process


def _await(answers: queue.SimpleQueue[str | None], pid: int) -> str | None:
    """The process's answer; None if the process died.

    Raises `queue.Empty` once the process has used too much CPU time. Wall-clock time would be
    unfair: on a busy machine the process may wait for a core longer than it computes.
    """
    begin, used = time.monotonic(), _cpu_seconds(pid)
    while True:
        try:
            return answers.get(timeout=limits.MAX_CHECK_SECONDS / 2)
        except queue.Empty:
            waited = time.monotonic() - begin
            computed = waited if used is None else (_cpu_seconds(pid) or 0.0) - used
            if computed > limits.MAX_CHECK_SECONDS or waited > limits.MAX_CHECK_WAIT_SECONDS:
                raise


def _cpu_seconds(pid: int) -> float | None:
    """CPU seconds that a process has used; None if the system doesn't report them."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    user, system = fields[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _exchange(
    process: subprocess.Popen[bytes], definition: str, answers: queue.SimpleQueue[str | None]
) -> None:
    """Put the process's answer, or None if it died, into `answers`."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        write_message(process.stdin, definition)
        answers.put(read_message(process.stdout))
    except (OSError, ValueError):  # the pipe was closed during the exchange
        answers.put(None)


sandbox = Sandbox()
"""The sandbox of this process."""

atexit.register(sandbox.close)
