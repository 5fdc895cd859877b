"""Brings one file from a server to its place: resumed, checked, once for all who want it.

What comes is written to FILE.incomplete. It gets its name when it is complete and its checksum is
right. So a file with its own name is whole, whatever ends this process.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import shutil
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

from server.model.gguf_header import MAGIC, GgufError
from server.model.inspection import Inspector
from server.store.errors import DiskFull, Refused, StoreError, Unreachable, WebError, WrongContent
from server.store.locks import locked
from server.store.progress import PullJob, PullStatus
from server.store.remote_file import RemoteFile
from server.store.sizes import human_size
from server.store.web import Web, patiently, reason

INCOMPLETE = ".incomplete"
"""The end of a file's name until the file is complete."""

_PIECE = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_LONGEST_VALIDATOR = 1000


def fetch(
    remote: RemoteFile, place: Path, web: Web, job: PullJob, *, lock: Path | None = None
) -> None:
    """Put the file at its place, unless it is there already.

    Other pulls of the file wait for this one, at `lock`; without one, at the incomplete file.
    Raises `StoreError`. What has come so far stays for the next pull, unless it is wrong.
    """
    partial = partial_of(place)

    def wait() -> None:
        with suppress(OSError):
            done = partial.stat().st_size
            why = "another pull downloads it"
            job.report(
                PullStatus.WAITING, remote.name, remote.digest, remote.size, done, reason=why
            )

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock or partial, job, wait):
            if place.exists():  # the incomplete file is a lock that nobody needs any more
                partial.unlink(missing_ok=True)
            else:
                _Download(remote, partial, web, job).run()
                partial.replace(place)
            version_of(partial).unlink(missing_ok=True)
    except OSError as error:
        raise _failed(remote, place, error) from None
    size = place.stat().st_size
    job.report(PullStatus.DONE, remote.name, remote.digest, size, size)


def partial_of(place: Path) -> Path:
    """Where a file lies until it is complete."""
    return place.with_name(f"{place.name}{INCOMPLETE}")


def check_space(folder: Path, needed: int) -> None:
    """Raise `DiskFull` unless the disk has so many free bytes."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFull(
            f"the disk of {folder} has {human_size(free)} free, and the download needs "
            f"{human_size(needed)}"
        )


def _failed(remote: RemoteFile, place: Path, error: OSError) -> StoreError:
    if error.errno not in _FULL:
        return StoreError(f"downloading {remote.name} to {place} failed: {reason(error)}")
    return DiskFull(
        f"downloading {remote.name} to {place.parent} failed: {reason(error)}; make room and pull "
        "again: the download goes on where it stopped"
    )


def version_of(partial: Path) -> Path:
    """Where the version of a partial file is kept, as its server named it."""
    return partial.with_name(f"{partial.name}.version")


class _Download:
    """One download under its lock."""

    def __init__(self, remote: RemoteFile, partial: Path, web: Web, job: PullJob) -> None:
        self._remote, self._partial, self._web, self._job = remote, partial, web, job
        self._hasher = _hasher(remote)
        self._completed = 0
        self._total = remote.size

    def run(self) -> None:
        """Complete the partial file and check it. Raises `StoreError` and OSError."""
        with _opened(self._partial) as file:
            self._take_over(file)
            try:
                patiently(
                    lambda: self._go_on(file),
                    self._job,
                    lambda: self._completed,
                    file=self._remote.name,
                )
            except Unreachable as error:
                raise Unreachable(self._explained(error)) from None
            except Refused as error:
                text = self._explained(error)
                raise Refused(error.status, error.headers, text) from None
            file.flush()
            os.fsync(file.fileno())
        self._check()

    def _explained(self, error: WebError) -> str:
        text = f"downloading {self._remote.url} failed: {error}"
        if not self._completed:
            return text
        kept = human_size(self._completed)
        return f"{text}; {kept} are kept, and the next pull goes on behind them"

    def _take_over(self, file: BinaryIO) -> None:
        """Read what an earlier pull has left."""
        have = file.seek(0, os.SEEK_END)
        if (self._total is not None and have > self._total) or not self._is_resumable():
            file.truncate(0)
            have = 0
        file.seek(0)
        while self._completed < have:
            piece = file.read(min(_PIECE, have - self._completed))
            self._hasher.update(piece)
            self._completed += len(piece)
            self._report(PullStatus.CHECKING)

    def _is_resumable(self) -> bool:
        """Whether it will be known that the rest belongs to the same file."""
        return bool(self._remote.digest) or bool(self._validator())

    def _validator(self) -> str:
        with suppress(OSError, ValueError):
            return version_of(self._partial).read_text("ascii")
        return ""

    def _go_on(self, file: BinaryIO) -> None:
        """Ask for what is missing, and append it."""
        if self._completed == self._total and self._completed:
            return
        if self._completed and not self._is_resumable():
            self._start_over(file)
        headers = {"Accept-Encoding": "identity"}
        if self._completed:
            headers["Range"] = f"bytes={self._completed}-"
            if not self._remote.digest:
                headers["If-Range"] = self._validator()
        try:
            answer = self._web.open(self._remote.url, headers=headers, secrets=self._remote.secrets)
        except Refused as error:
            if error.status == 416 and self._completed:  # the file is another, shorter one now
                self._start_over(file)
                raise Unreachable("the file has changed") from None
            raise
        with answer:
            self._append(answer, file)

    def _append(self, answer: http.client.HTTPResponse, file: BinaryIO) -> None:
        if self._completed and not _continues(answer, self._completed):
            self._start_over(file)
        self._total = _total(answer, self._completed, self._remote.size)
        if self._total is not None:
            check_space(self._partial.parent, self._total - self._completed)
        if not self._completed:
            self._remember_version(answer)
        self._copy(answer, file)

    def _copy(self, answer: http.client.HTTPResponse, file: BinaryIO) -> None:
        self._report(PullStatus.DOWNLOADING)
        while True:
            try:
                piece = answer.read1(_PIECE)
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(f"the connection was cut ({reason(error)})") from None
            if not piece:
                break
            if not self._completed:
                self._check_start(piece)
            file.write(piece)
            file.flush()
            self._hasher.update(piece)
            self._completed += len(piece)
            self._report(PullStatus.DOWNLOADING)
            if self._total is not None and self._completed > self._total:
                return
        if self._total is not None and self._completed < self._total:
            came = f"{self._completed:,} of {self._total:,} bytes came"
            raise Unreachable(f"the connection was cut ({came})")

    def _start_over(self, file: BinaryIO) -> None:
        file.seek(0)
        file.truncate()
        self._hasher = _hasher(self._remote)
        self._completed = 0

    def _remember_version(self, answer: http.client.HTTPResponse) -> None:
        """Keep what tells a later pull that the file is still the same one."""
        etag = answer.headers.get("ETag") or ""
        strong = etag if etag.startswith('"') else answer.headers.get("Last-Modified") or ""
        if not self._remote.digest and len(strong) <= _LONGEST_VALIDATOR and strong.isascii():
            version_of(self._partial).write_text(strong, "ascii")

    def _check_start(self, piece: bytes) -> None:
        """Refuse pages that stand where a model should, before gigabytes are written."""
        if self._is_gguf() and not piece.startswith(MAGIC[: len(piece)]):
            self._discard()
            raise WrongContent(
                f"{self._remote.url} is not a GGUF file: it starts with {piece[:4]!r}"
            )

    def _is_gguf(self) -> bool:
        return self._remote.name.lower().endswith(".gguf")

    def _check(self) -> None:
        remote = self._remote
        if self._total is not None and self._completed != self._total:
            self._discard()
            raise WrongContent(
                f"{remote.url} has {self._completed:,} bytes instead of {self._total:,}; "
                "the download was deleted"
            )
        if self._total is None and self._is_gguf():
            self._check_length()
        kind, _, expected = remote.digest.partition(":")
        if expected and self._hasher.hexdigest() != expected:
            self._discard()
            raise WrongContent(
                f"{remote.url} was changed on the way: its {kind.upper()} is "
                f"{self._hasher.hexdigest()} instead of {expected}; the download was deleted"
            )

    def _check_length(self) -> None:
        """Refuse a file that its own header calls incomplete: nobody else has told its size."""
        with closing(Inspector()) as inspector:
            try:
                needed = inspector.header(self._partial).needed_bytes
            except GgufError as error:
                self._discard()
                raise WrongContent(f"{self._remote.url} {error}; it was deleted") from None
        if self._completed < needed:
            self._discard()
            raise WrongContent(
                f"{self._remote.url} came with {self._completed:,} of {needed:,} bytes; "
                "the download was deleted"
            )

    def _discard(self) -> None:
        self._partial.unlink(missing_ok=True)
        version_of(self._partial).unlink(missing_ok=True)

    def _report(self, status: PullStatus) -> None:
        remote = self._remote
        self._job.report(status, remote.name, remote.digest, self._total, self._completed)


class _NoHash:
    """Stands in where no digest is known."""

    def update(self, data: bytes) -> None:
        """Take no notice."""

    def hexdigest(self) -> str:
        return ""


def _hasher(remote: RemoteFile) -> hashlib._Hash | _NoHash:
    kind = remote.digest.partition(":")[0]
    if kind == "sha256":
        return hashlib.sha256()
    if kind == "git-sha1":
        head = f"blob {remote.size}\0".encode()
        return hashlib.sha1(head, usedforsecurity=False)
    return _NoHash()


def _opened(path: Path) -> BinaryIO:
    """The file for reading and writing; what is there stays."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b")


def _continues(answer: http.client.HTTPResponse, position: int) -> bool:
    """Whether the answer goes on at this position, instead of starting over."""
    found = _RANGE.fullmatch(answer.headers.get("Content-Range") or "")
    return answer.status == 206 and found is not None and int(found[1]) == position


def _total(answer: http.client.HTTPResponse, completed: int, known: int | None) -> int | None:
    if known is not None:
        return known
    length = answer.headers.get("Content-Length")
    return completed + int(length) if length is not None and length.isdigit() else None
