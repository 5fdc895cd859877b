"""Locks between processes that write the same file, as huggingface_hub takes them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from server.store.progress import PullJob

_LOOK_SECONDS = 0.2


@contextmanager
def locked(path: Path, job: PullJob, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of this file. `on_wait` is called again and again while another process has it.

    The system frees the lock of a process that ends. Raises OSError and `PullCancelled`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _taken(path)
    while descriptor is None:
        on_wait()
        job.pause(_LOOK_SECONDS)
        descriptor = _taken(path)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock of this file, unless somebody has it. Gives whether it is held.

    Raises OSError.
    """
    descriptor = _taken(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _taken(path: Path) -> int | None:
    """A descriptor that holds the lock; None if another one has it, or the file was replaced."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
