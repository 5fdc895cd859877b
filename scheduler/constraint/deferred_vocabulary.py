"""A vocabulary that is built in a thread, because indexing its tokens takes long."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Lock, Thread

from scheduler.constraint.vocabulary import TokenVocabulary


class DeferredVocabulary:
    """A vocabulary that is built once, in a thread, on `start` or on the first `get`."""

    def __init__(self, build: Callable[[], TokenVocabulary]) -> None:
        self._build = build
        self._lock = Lock()
        self._result: Future[TokenVocabulary] | None = None

    def start(self) -> None:
        """Begin to build, unless that has begun already."""
        with self._lock:
            if self._result is None:
                self._result = Future()
                Thread(target=self._run, args=(self._result,), daemon=True).start()

    def get(self) -> TokenVocabulary:
        """Wait for the vocabulary. Raises what the build raised."""
        self.start()
        assert self._result is not None
        return self._result.result()

    def finish(self) -> None:
        """Wait until nothing is being built. The model may be freed afterwards."""
        if self._result is not None:
            wait([self._result])

    def _run(self, result: Future[TokenVocabulary]) -> None:
        try:
            result.set_result(self._build())
        except BaseException as error:
            result.set_exception(error)
