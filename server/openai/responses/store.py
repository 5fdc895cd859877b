"""Responses that were made, for clients that come back to them: bounded, and each for its owner."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from server.errors import InvalidRequest, NotFound

MAX_RESPONSES = 10_000
MAX_BYTES = 64 << 20
MAX_SECONDS = 30 * 24 * 3600.0
"""Bounds of the store: the oldest responses go first. OpenAI keeps responses for 30 days too."""

MAX_CHAIN = 1000
"""Most responses that one conversation goes back."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, previous TEXT, created REAL NOT NULL,
    size INTEGER NOT NULL, input BLOB NOT NULL, response BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_age ON responses (created);
CREATE TABLE IF NOT EXISTS running (
    id TEXT PRIMARY KEY REFERENCES responses ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (
    id TEXT NOT NULL, response TEXT NOT NULL REFERENCES responses ON DELETE CASCADE,
    PRIMARY KEY (id, response)
) WITHOUT ROWID;
"""

_LOST = {"code": "server_error", "message": "the server ended while it made this response"}

_encode = msgspec.json.encode
_decode = msgspec.json.decode


@dataclass(frozen=True, slots=True)
class Stored:
    """A response, and the items that came with its request alone."""

    input: list[Any]
    response: dict[str, Any]


class ResponseStore:
    """Responses in SQLite: in memory, or in a file that outlives the server. Thread-safe."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises `sqlite3.Error` if the file can't be used. The file is its owner's alone."""
        if path is not None:
            path.touch(mode=0o600)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path or ":memory:", check_same_thread=False)
        self._database.execute("PRAGMA foreign_keys = ON")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.executescript(_SCHEMA)
        self._users = (
            None if path is None else os.open(f"{path}-users", os.O_RDWR | os.O_CREAT, 0o600)
        )
        self._fail_lost()

    def put(
        self,
        owner: str,
        items: Sequence[Any],
        response: dict[str, Any],
        *,
        is_running: bool = False,
    ) -> None:
        """Keep a response as it is now, and make room for it.

        A response that is running when the server ends is failed by the next one. Raises
        `InvalidRequest` for such a response if it is too large; another one is not kept then.
        """
        input_, body = _encode(list(items)), _encode(response)
        size, now = len(input_) + len(body), time.time()
        if size > MAX_BYTES:
            if is_running:
                raise InvalidRequest("the request is too large to be stored", param="input")
            return
        id_ = response["id"]
        row = (id_, owner, response["previous_response_id"], now, size, input_, body)
        ids = [(item["id"], id_) for item in response["output"]]
        with self._lock, self._database:
            self._database.execute("DELETE FROM responses WHERE id = ?", (id_,))
            self._database.execute("INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            self._database.executemany("INSERT INTO items VALUES (?, ?)", ids)
            if is_running:
                self._database.execute("INSERT INTO running VALUES (?)", (id_,))
            self._make_room(now)

    def get(self, owner: str, id_: str) -> Stored:
        """A response of this owner. Raises `NotFound`."""
        query = "SELECT input, response FROM responses WHERE id = ? AND owner = ?"
        with self._lock:
            row = self._database.execute(query, (id_, owner)).fetchone()
        if row is None:
            raise NotFound(f"there is no response {id_!r}; it may have been removed by age")
        return Stored(_decode(row[0]), _decode(row[1]))

    def delete(self, owner: str, id_: str) -> None:
        """Forget a response. Raises `NotFound`."""
        self.get(owner, id_)
        with self._lock, self._database:
            self._database.execute("DELETE FROM responses WHERE id = ?", (id_,))

    def history(self, owner: str, id_: str) -> list[Any]:
        """The items of a conversation up to and with this response. Raises `InvalidRequest`."""
        parts: list[list[Any]] = []
        previous: str | None = id_
        while previous is not None:
            if len(parts) == MAX_CHAIN:
                text = f"the conversation has more than {MAX_CHAIN} responses"
                raise InvalidRequest(text, param="previous_response_id")
            try:
                stored = self.get(owner, previous)
            except NotFound:
                text = f"'previous_response_id' names no stored response (got {previous!r})"
                raise InvalidRequest(text, param="previous_response_id") from None
            if stored.response["status"] in ("queued", "in_progress"):
                text = (
                    f"'previous_response_id' names a response that isn't ready (got {previous!r})"
                )
                raise InvalidRequest(text, param="previous_response_id")
            parts.append([*stored.input, *stored.response["output"]])
            previous = stored.response["previous_response_id"]
        return [item for part in reversed(parts) for item in part]

    def item(self, owner: str, id_: str) -> Any:
        """An item of a stored answer. Raises `InvalidRequest`."""
        query = (
            "SELECT responses.response FROM items JOIN responses ON responses.id = items.response "
            "WHERE items.id = ? AND responses.owner = ?"
        )
        with self._lock:
            row = self._database.execute(query, (id_, owner)).fetchone()
        found = [] if row is None else _decode(row[0])["output"]
        for item in found:
            if item["id"] == id_:
                return item
        raise InvalidRequest(
            f"'input' refers to the item {id_!r}, which isn't stored", param="input"
        )

    def close(self) -> None:
        """Close the database."""
        self._database.close()
        if self._users is not None:
            os.close(self._users)

    def _fail_lost(self) -> None:
        """Fail the responses that no server makes any more.

        Servers that share a file hold a common lock. A server that is alone knows that what is
        marked as running isn't.
        """
        if self._users is None:
            return
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pass
        else:
            with self._lock, self._database:
                self._fail_running()
        fcntl.flock(self._users, fcntl.LOCK_SH)

    def _fail_running(self) -> None:
        query = "SELECT id, response FROM responses WHERE id IN (SELECT id FROM running)"
        for id_, body in self._database.execute(query).fetchall():
            failed = {**_decode(body), "status": "failed", "error": _LOST}
            change = "UPDATE responses SET response = ? WHERE id = ?"
            self._database.execute(change, (_encode(failed), id_))
        self._database.execute("DELETE FROM running")

    def _make_room(self, now: float) -> None:
        """Remove responses by age, number and size, the oldest first."""
        execute = self._database.execute
        execute("DELETE FROM responses WHERE created < ?", (now - MAX_SECONDS,))
        count, size = execute("SELECT count(*), coalesce(sum(size), 0) FROM responses").fetchone()
        while count > MAX_RESPONSES or size > MAX_BYTES:
            oldest, bytes_ = execute(
                "SELECT id, size FROM responses ORDER BY created, rowid LIMIT 1"
            ).fetchone()
            execute("DELETE FROM responses WHERE id = ?", (oldest,))
            count, size = count - 1, size - bytes_


def _open_lock(path: Path) -> int:
    """A file to hold a lock on, for its owner alone."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
