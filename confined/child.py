"""The parent's side: a child process that answers questions within limits, and is replaced."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from confined import python_module
from confined.frames import HEAD, TOO_LARGE, TOO_SLOW, frame
from confined.work import current_work

_MOST_UNWATCHED = 2.0
"""Seconds between two looks at the time, twice; the process would end itself soon after its time.
"""

_START_SECONDS = 60.0
"""Wall-clock limit of a start, which is Python's and that of our own modules."""


class TooSlow(Exception):
    """The answer took longer than it may; the process was ended."""


class Died(Exception):
    """The question ended the process, or its own work: it needed too much memory, or crashed."""


class _Verdict(Exception):
    """The process says that the question breaks a limit. It goes on."""

    def __init__(self, error: TooSlow | Died) -> None:
        super().__init__()
        self.error = error


class Child:
    """One confined process, which starts on first use, and again after its end.

    `module` is run as a program and calls `answer_all`. `environment` is added to our own. One
    thread at a time may ask.
    """

    def __init__(
        self,
        module: str,
        environment: Mapping[str, str] | None = None,
        *,
        niceness: int = 0,
        grace_seconds: float = 0.0,
    ) -> None:
        """`niceness` is how much the process stands back behind others, as the system counts it.
        `grace_seconds` are CPU time in which the process may say itself that it was too slow."""
        self._module = module
        self._grace_seconds = grace_seconds
        self._niceness = niceness
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._is_ready = False
        self._num_closed = 0
        """How often it was closed."""
        self._cpu_seconds = 0.0
        """CPU time that the process had used at its last answer."""

    def start(self) -> None:
        """Start the process, and don't wait for it."""
        self._running()

    def ask(self, question: bytes, *, cpu_seconds: float, wall_seconds: float) -> bytes:
        """The answer to one question. Raises `TooSlow`, and `Died`, also if it is closed meanwhile.

        Wall-clock time alone would be unfair: on a busy machine the process may wait for a core
        longer than it computes. If the thread's work is called off, the process is ended at once,
        and `Cancelled` is raised.
        """
        num_closed = self._num_closed
        try:
            process, conversation = self._running()
            with current_work().stopped_by(process.kill):
                if not self._is_ready:
                    self._await_start(conversation)
                most = cpu_seconds + self._grace_seconds
                watch = _Watch(process.pid, self._cpu_seconds, most, wall_seconds)
                conversation.settimeout(min(cpu_seconds, wall_seconds, _MOST_UNWATCHED) / 2)
                return self._conversation(conversation, frame(question, cpu_seconds), watch)
        except _Verdict as given:
            raise given.error from None
        except BaseException as error:
            self._end()  # what comes later from this process answers no other question
            if self._num_closed != num_closed:
                raise Died from error
            raise

    def close(self) -> None:
        """End the process; the next question starts another one. Any thread may call it."""
        self._num_closed += 1
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        conversation, self._socket = self._socket, None
        if process is not None:
            process.kill()
            process.wait()
        if conversation is not None:
            conversation.close()

    def _running(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """The process and the socket to it, after starting it if it doesn't run."""
        process, conversation = self._process, self._socket
        if process is not None and process.poll() is not None:
            self._end()
            process = None
        if process is None or conversation is None:
            process, conversation = self._started()
            self._process, self._socket, self._is_ready = process, conversation, False
        return process, conversation

    def _started(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            # A Ctrl-C must reach the server alone, which still has to drain.
            process = subprocess.Popen(
                python_module.command(self._module),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=python_module.environment() | self._environment,
            )
        _stand_back(process.pid, self._niceness)
        return process, ours

    def _conversation(self, conversation: socket.socket, question: bytes, watch: _Watch) -> bytes:
        try:
            _send(conversation, question, watch)
            return self._receive(conversation, watch)
        except OSError:  # its end of the socket is closed
            raise Died from None

    def _await_start(self, conversation: socket.socket) -> None:
        conversation.settimeout(_START_SECONDS)
        try:
            self._receive(conversation, None)
        except OSError:
            raise RuntimeError(f"python -m {self._module} doesn't start") from None
        self._is_ready = True

    def _receive(self, conversation: socket.socket, watch: _Watch | None) -> bytes:
        size, self._cpu_seconds = HEAD.unpack(_read(conversation, HEAD.size, watch))
        if size in (TOO_SLOW, TOO_LARGE):
            raise _Verdict(TooSlow() if size == TOO_SLOW else Died())
        return _read(conversation, size, watch)


class _Watch:
    """The time of one answer."""

    def __init__(self, pid: int, used: float, cpu_seconds: float, wall_seconds: float) -> None:
        self._pid, self._used = pid, used
        self._cpu_seconds, self._wall_seconds = cpu_seconds, wall_seconds
        self._begin = time.monotonic()

    def check(self) -> None:
        """Raise `TooSlow` if the time is over."""
        waited = time.monotonic() - self._begin
        used = _cpu_seconds(self._pid)
        computed = waited if used is None else used - self._used
        if computed > self._cpu_seconds or waited > self._wall_seconds:
            raise TooSlow


def _send(conversation: socket.socket, data: bytes, watch: _Watch) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[conversation.send(rest) :]
        except TimeoutError:
            watch.check()


def _read(conversation: socket.socket, size: int, watch: _Watch | None) -> bytes:
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        try:
            count = conversation.recv_into(rest)
        except TimeoutError:
            if watch is None:
                raise
            watch.check()
            continue
        if not count:
            raise ConnectionResetError("the process has ended")
        rest = rest[count:]
    return bytes(data)


def _cpu_seconds(pid: int) -> float | None:
    """CPU time that a process has used; None if the system doesn't report it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    user, system = fields[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _stand_back(pid: int, niceness: int) -> None:
    if niceness and hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, niceness)
