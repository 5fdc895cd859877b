"""The audit log: one JSON line for each request, written by its own thread."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import msgspec

from server.access.access_record import AccessRecord
from server.startup import StartupError

MAX_WAITING = 65536
"""Lines that may wait for a slow disk. Further lines are lost; the server log counts them."""

MAX_WAITING_BYTES = 32 << 20
"""Bytes of memory that these lines may take."""

_ENTRY_BYTES = 1024
_TOKEN_BYTES = 40
"""Of a prompt that waits to become text."""

STANDARD_OUTPUT = Path("-")
"""The path that means standard output."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """The facts of one line."""

    time: float
    """Unix time of the request's end."""
    request_id: str
    key: str | None
    """The name of the key; None without a key."""
    client: str
    method: str
    path: str
    status: int
    seconds: float
    record: AccessRecord

    @property
    def num_bytes(self) -> int:
        """Bytes of memory, roughly."""
        num_tokens = sum(len(prompt) for prompt in self.record.charged.values())
        return _ENTRY_BYTES + 4 * len(self.path) + _TOKEN_BYTES * num_tokens

    def to_json(self) -> dict[str, Any]:
        """The line's fields; `stop` names each way in which answers ended, once."""
        record = self.record
        first = record.first_token
        return {
            "time": _time_text(self.time),
            "request_id": self.request_id,
            "key": self.key,
            "client": self.client,
            "method": self.method,
            "path": self.path,
            "model": record.model or None,
            "status": self.status,
            "prompt_tokens": record.prompt_tokens,
            "cached_tokens": record.cached_tokens,
            "generated_tokens": record.generated_tokens,
            "first_token_ms": None if first is None else _ms(first - record.started),
            "total_ms": _ms(self.seconds),
            "stop": ",".join(dict.fromkeys(record.causes)) or None,
        }


class AuditLog:
    """Hands lines to a thread, so that a slow disk delays no request."""

    def __init__(
        self, path: Path, prompt_text: Callable[[AccessRecord, Sequence[int]], str] | None = None
    ) -> None:
        """`prompt_text` makes text of a prompt's tokens; None leaves prompts out of the lines.

        Raises `StartupError` if the file can't be opened.
        """
        self._path = path
        self._prompt_text = prompt_text
        self._queue: queue.Queue[AuditEntry | Callable[[], None] | None] = queue.Queue(MAX_WAITING)
        self._lost = 0
        self._num_put = 0
        self._num_got = 0
        """Bytes that were handed over, and those that the thread is done with. Each number has one
        writer."""
        self._is_failing = False
        try:
            self._file = self._open()
        except OSError as error:
            raise StartupError(f"can't write the audit log {path}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._run, name="audit log", daemon=True)
        self._thread.start()

    def write(self, entry: AuditEntry) -> None:
        """Hand over a line. Never waits; loses the line if too many wait."""
        if self._num_put - self._num_got > MAX_WAITING_BYTES:
            self._lost += 1
            return
        try:
            self._queue.put_nowait(entry)
            self._num_put += entry.num_bytes
        except queue.Full:
            self._lost += 1

    def reopen(self) -> None:
        """Continue in a new file of the same name, once a log rotation has moved the old one.

        If the new file can't be opened, the old one stays; the server log says so.
        """
        self._queue.put(self._reopen)

    def close(self) -> None:
        """Write the lines that wait, then end the thread."""
        self._queue.put(None)
        self._thread.join()
        try:
            self._close(self._file)
        except OSError as error:
            self._failed(error)

    def _close(self, file: TextIO) -> None:
        if file is sys.stdout:
            file.flush()
        else:
            file.close()

    def _open(self) -> TextIO:
        if self._path == STANDARD_OUTPUT:
            return sys.stdout
        return open(self._path, "a", encoding="utf-8", opener=_open_for_owner)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                if isinstance(job, AuditEntry):
                    self._num_got += job.num_bytes
                    self._write(job)
                else:
                    job()
            except (OSError, ValueError) as error:
                self._failed(error)

    def _write(self, entry: AuditEntry) -> None:
        line = entry.to_json()
        if self._prompt_text is not None:
            prompts = entry.record.charged.values()
            line["prompts"] = [self._prompt_text(entry.record, prompt) for prompt in prompts]
        self._file.write(msgspec.json.encode(line).decode() + "\n")
        if self._queue.empty():
            self._file.flush()
        self._is_failing = False
        if self._lost:
            lost, self._lost = self._lost, 0
            logger.error("the audit log was too slow: %d lines are lost", lost)

    def _reopen(self) -> None:
        new = self._open()
        old, self._file = self._file, new
        self._close(old)

    def _failed(self, error: Exception) -> None:
        """Log the first of several errors in a row: a full disk fails for each line."""
        if not self._is_failing:
            self._is_failing = True
            logger.error("can't write the audit log %s: %s", self._path, error)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _time_text(unix: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix))
    return f"{whole}.{int(unix % 1 * 1000):03d}Z"


def _open_for_owner(path: str, flags: int) -> int:
    """A new file may be read by its owner alone: the log can hold prompts."""
    return os.open(path, flags, 0o600)
