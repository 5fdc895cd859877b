"""The child's side: a process limits itself, and answers questions until its parent is gone."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

from confined.frames import HEAD, frame
from confined.interruption import verdict_or_answer

_GRACE_SECONDS = 2
"""CPU time after the parent should have ended the process: only a dead parent lets it come."""


def answer_all(
    answer: Callable[[bytes], bytes],
    *,
    memory_bytes: int,
    mapped_bytes: int = 0,
    is_interruptible: bool = False,
) -> None:
    """Answer every question, with at most `memory_bytes` of memory.

    `mapped_bytes` is further address space, for libraries and files. The first frame is empty: it
    says that the process has started. What `answer` raises ends the process. If `answer` is
    interruptible, Python code that keeps no state, most breaches of a limit end the answer alone:
    such an end is cheaper than the next process. `answer_all` must then run in the main thread.
    """
    _limit_memory(memory_bytes, mapped_bytes)
    _die_first()
    source, target = sys.stdin.buffer, sys.stdout.buffer
    answered = frame(b"", time.process_time())
    while True:
        target.write(answered)
        target.flush()
        head = source.read(HEAD.size)
        if len(head) < HEAD.size:
            return
        size, seconds = HEAD.unpack(head)
        _limit_time(seconds)
        question = source.read(size)
        if is_interruptible:
            answered = verdict_or_answer(answer, question, seconds, memory_bytes)
        else:
            answered = frame(answer(question), time.process_time())


def _limit_memory(memory_bytes: int, mapped_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    _lower(resource.RLIMIT_CORE, 0)
    # Writable memory alone; not every system counts it.
    _lower(resource.RLIMIT_DATA, memory_bytes)
    _lower(resource.RLIMIT_AS, memory_bytes + mapped_bytes)


def _die_first() -> None:
    """Where memory runs out for all processes together, the kernel ends this one."""
    with contextlib.suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text("1000")


def _limit_time(seconds: float) -> None:
    with contextlib.suppress(ImportError):
        import resource

        _lower(resource.RLIMIT_CPU, int(time.process_time() + seconds) + _GRACE_SECONDS)


def _lower(kind: int, limit: int) -> None:
    """Set the soft limit. It may rise again up to the hard one, which stays."""
    import resource

    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with contextlib.suppress(ValueError, OSError):  # a system without this limit
        resource.setrlimit(kind, (limit, hard))
