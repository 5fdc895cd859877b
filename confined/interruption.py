"""The child's side: an answer that is interrupted at its limits, in a process that goes on."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from confined.frames import TOO_LARGE, TOO_SLOW, frame, verdict

_MOST_LEFT = 4
"""A process goes on if an interrupted answer leaves it no more than this part of its memory."""


class _Interrupted(BaseException):
    """The answer has used its time."""


def verdict_or_answer(
    answer: Callable[[bytes], bytes], question: bytes, seconds: float, memory_bytes: int
) -> bytes:
    """The frame to send: the answer's, or which limit it broke.

    Code that doesn't come back to Python can't be interrupted. The parent ends such a process.
    Raises `MemoryError` if the process keeps much memory, and what `answer` raises.
    """
    code = TOO_LARGE
    try:
        return frame(_interrupted_after(seconds, answer, question), time.process_time())
    except _Interrupted:
        code = TOO_SLOW
    except MemoryError:
        pass
    # Only now the frames of the answer, and what they held, are gone.
    gc.collect()
    if _resident_bytes() > memory_bytes // _MOST_LEFT:
        raise MemoryError
    return verdict(code, time.process_time())


def _interrupted_after(seconds: float, answer: Callable[[bytes], bytes], question: bytes) -> bytes:
    signal.signal(signal.SIGPROF, _interrupt)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return answer(question)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _interrupt(number: int, stack: FrameType | None) -> None:
    raise _Interrupted


def _resident_bytes() -> int:
    with contextlib.suppress(OSError):  # not Linux
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
