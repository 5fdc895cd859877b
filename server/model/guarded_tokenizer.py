"""The door through which clients' texts come to llama.cpp's tokenizer.

llama.cpp searches a text with regular expressions that recurse for every character of a run: 28,000
letters overflow a stack of 8 MiB, which ends the process. Other texts take time that is quadratic
in their length. So this process splits short texts alone, with a stack that is large enough. Long
texts are split in confined processes.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Lock, Thread

from confined.child import Child, Died, TooSlow
from confined.pool import Pace, Pool
from confined.prepared import PreparedChild, Question
from grammars.deep_stack import DeepThreads
from protocol.metadata import MetadataOverride
from server.errors import InvalidRequest
from server.model.inspection import CHILD_ENVIRONMENT, CPU_SECONDS, WALL_SECONDS
from server.model.splitter import text_bytes, tokens_of, vocabulary_bytes
from server.model.tokenizer import LlamaTokenizer

TINY_BYTES = 64
"""Texts that any thread may split. A character of a run takes 320 bytes of stack in every
pre-tokenizer that recurses, so these take 20 KiB; musl's threads have 128 KiB."""

SMALL_BYTES = 16 << 10
"""Texts that this process splits, in some 20 ms. They take 5 MiB of stack, a fiftieth of what
they get."""

MOST_DEEP = 4
"""Small texts that are split at the same time, because of the memory of their stacks."""

QUICK = Pace(cpu_seconds=2.0, wall_seconds=10.0)
"""Time in which a megabyte of prose is split."""

SLOW = Pace(cpu_seconds=10.0, wall_seconds=60.0)
"""Time after which a text is given up."""

REFUSED_SECONDS = 60.0
"""How long a text that can't be split is refused unseen."""

_MOST_REFUSED = 1024


class UnsplittableText(InvalidRequest):
    """A text that takes too much time or memory to split."""


@contextlib.contextmanager
def texts_of(param: str) -> Iterator[None]:
    """Let errors of texts within the block name this field of the request."""
    try:
        yield
    except UnsplittableText as error:
        error.param = param
        raise


class GuardedTokenizer(LlamaTokenizer):
    """A vocabulary that splits texts which nobody has checked. Thread-safe.

    `tokenize` blocks, and raises `UnsplittableText`, and `Crowded` if too many texts are slow.
    """

    def __init__(self, path: Path, overrides: Sequence[MetadataOverride] = ()) -> None:
        super().__init__(path, overrides)
        self._vocabulary = vocabulary_bytes(path, overrides)
        self._deep = _deep_threads()
        self._refused = Refusals()
        self._is_closed = False
        self.pool: Pool[Question] = Pool(_process, quick=QUICK, slow=SLOW)
        atexit.register(self.close)

    def start(self) -> None:
        """Start one process, and don't wait until it has loaded the vocabulary."""
        Thread(target=self._prepare, daemon=True).start()

    def close(self) -> None:
        """End the processes."""
        self._is_closed = True
        self.pool.close()
        atexit.unregister(self.close)  # which would keep the vocabulary in memory

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        size = 4 * len(text) if len(text) <= TINY_BYTES // 4 else len(text.encode(errors="replace"))

        def split() -> list[int]:
            return LlamaTokenizer.tokenize(
                self, text, add_special=add_special, parse_special=parse_special
            )

        if size <= TINY_BYTES:
            return split()
        if size <= SMALL_BYTES:
            return self._deep.call(split)
        return self._ask(text_bytes(text, add_special=add_special, parse_special=parse_special))

    def _ask(self, question: bytes) -> list[int]:
        self._refused.check(question)
        try:
            return tokens_of(self.pool.ask((self._vocabulary, question)))
        except TooSlow:
            reason = f"takes more than {SLOW.cpu_seconds:g} s"
        except Died:
            reason = "takes too much memory, or ends its process"
        raise self._refused.add(question, reason)

    def _prepare(self) -> None:
        with contextlib.suppress(TooSlow, Died):  # the next question tries again
            try:
                self.pool.ask((self._vocabulary, b""))
            except RuntimeError:  # the process was ended while it started
                if not self._is_closed:
                    raise


class Refusals:
    """Texts that could not be split lately. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._reasons: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        """By the text's hash: the reason, and when it is forgotten."""

    def check(self, question: bytes) -> None:
        """Raise `UnsplittableText` if the text could not be split lately."""
        with self._lock:
            reason, end = self._reasons.get(_hash(question), ("", 0.0))
        if self._clock() < end:
            raise UnsplittableText(reason)

    def add(self, question: bytes, reason: str) -> UnsplittableText:
        """Remember a text for some time; return the error about it."""
        message = f"splitting a text of {len(question)} bytes into tokens {reason}"
        with self._lock:
            self._reasons[_hash(question)] = (message, self._clock() + REFUSED_SECONDS)
            if len(self._reasons) > _MOST_REFUSED:
                self._reasons.popitem(last=False)
        return UnsplittableText(message)


_deep_lock = Lock()


def _deep_threads() -> DeepThreads:
    """The threads that split small texts of all vocabularies. Several may be loaded at a time."""
    with _deep_lock:
        return _started_threads()


@functools.cache
def _started_threads() -> DeepThreads:
    return DeepThreads(MOST_DEEP, "tokenizer")


def _hash(question: bytes) -> bytes:
    return hashlib.sha256(question).digest()


def _process(niceness: int) -> PreparedChild:
    child = Child("server.model.splitter", CHILD_ENVIRONMENT, niceness=niceness)
    return PreparedChild(child, Pace(CPU_SECONDS, WALL_SECONDS))
