"""Files as large as those on a server, of which only the headers are on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from server.fit.errors import FitError
from server.model.gguf_header import GgufError, GgufHeader
from server.model.inspection import Inspector
from server.store.errors import WebError
from server.store.progress import PullJob
from server.store.remote_file import RemoteFile
from server.store.web import Web

_FIRST_TRY = 1 << 20
"""Bytes after which a header is looked at; later tries come after as many times four."""

_MOST_HEAD_BYTES = 1 << 28
"""More than any file's header has."""

_CHUNK = 1 << 18


@contextmanager
def heads_of(files: Sequence[RemoteFile], job: PullJob) -> Iterator[Path]:
    """The first of a model's files, with the others beside it. They are gone after the block.

    Raises `FitError`, and `PullCancelled`.
    """
    inspector, web = Inspector(), Web()
    try:
        with TemporaryDirectory(prefix="llamapack-") as folder:
            places = [Path(folder) / file.name.replace("/", "_") for file in files]
            for file, place in zip(files, places, strict=True):
                fetch_head(file, place, web, inspector, job)
            yield places[0]
    finally:
        inspector.close()


def fetch_head(
    remote: RemoteFile, place: Path, web: Web, inspector: Inspector, job: PullJob
) -> None:
    """Make a file as large as the server's, of which only the beginning is on the disk.

    Raises `FitError`, and `PullCancelled`.
    """
    header, due = None, _FIRST_TRY
    with place.open("wb") as target:
        for chunk in _beginning(remote, web, job):
            target.write(chunk)
            if target.tell() >= due:
                target.flush()
                header = _header(place, inspector)
                if header is not None:
                    break
                due = target.tell() * 4
        if remote.size is None and header is None:
            target.flush()
            header = _header(place, inspector)
        needed = 0 if header is None else header.needed_bytes
        target.truncate(max(remote.size or needed, target.tell()))


def _beginning(remote: RemoteFile, web: Web, job: PullJob) -> Iterator[bytes]:
    """The bytes of a file as they come; whoever has enough stops."""
    # The range is a courtesy: a server that sends more is not read any further.
    headers = {"Range": f"bytes=0-{_MOST_HEAD_BYTES - 1}", "Accept-Encoding": "identity"}
    size = 0
    try:
        with web.open(remote.url, headers=headers, secrets=remote.secrets) as answer:
            while size < _MOST_HEAD_BYTES and (chunk := answer.read1(_CHUNK)):
                job.check()
                size += len(chunk)
                yield chunk
    except (OSError, WebError) as error:
        raise FitError(f"reading {remote.name} failed: {error}") from None


def _header(path: Path, inspector: Inspector) -> GgufHeader | None:
    """The file's header; None while it is incomplete. Raises `FitError` for what is none."""
    try:
        return inspector.header(path)
    except GgufError as error:
        if "incomplete" not in str(error):
            raise FitError(f"{path.name} {error}") from None
        return None
