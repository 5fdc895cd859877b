"""A confined process for tests; each question names a way to behave."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable

from confined.loop import answer_all


def answer(question: bytes) -> bytes:
    word, _, rest = question.partition(b" ")
    if question == b"big power":
        return str(10 ** (10**9)).encode()
    return _BEHAVIOURS[word](rest)


def _spin(_: bytes) -> bytes:
    while True:
        pass


def _sleep(_: bytes) -> bytes:
    time.sleep(60)
    return b""


def _grow(_: bytes) -> bytes:
    text = b"xxxx"
    while True:
        text += text


def _sum(_: bytes) -> bytes:
    return str(sum(range(10**12))).encode()


def _hoard(_: bytes) -> bytes:
    while True:
        _HOARD.append(b"x" * (10 << 20))


def _exit(_: bytes) -> bytes:
    os._exit(3)


def _crash(_: bytes) -> bytes:
    os.kill(os.getpid(), signal.SIGSEGV)
    return b""


def _raise(_: bytes) -> bytes:
    raise ValueError("a bug")


def _work(_: bytes) -> bytes:
    end = time.process_time() + 0.15
    while time.process_time() < end:
        pass
    return b"done"


_HOARD: list[bytes] = []

_BEHAVIOURS: dict[bytes, Callable[[bytes], bytes]] = {
    b"echo": lambda rest: rest,
    b"pid": lambda _: str(os.getpid()).encode(),
    b"cpu": lambda _: str(
        resource.getrlimit(resource.RLIMIT_CPU)[0] - int(time.process_time())
    ).encode(),
    b"spin": _spin,
    b"sleep": _sleep,
    b"grow": _grow,
    b"hoard": _hoard,
    b"sum": _sum,
    b"exit": _exit,
    b"crash": _crash,
    b"raise": _raise,
    b"work": _work,
}

if __name__ == "__main__":
    is_interruptible = "INTERRUPTIBLE" in os.environ
    answer_all(answer, memory_bytes=400 << 20, is_interruptible=is_interruptible)
