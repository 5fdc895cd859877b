"""PDF files in requests: from base64 to the text that the model reads."""

from __future__ import annotations

import atexit
import base64
import binascii
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock

from confined.child import Child, Died, TooSlow
from confined.pool import Pace, Pool
from confined.work import current_work
from server.bodies.bounds import PDFS
from server.documents.outcome import TEXT
from server.errors import InvalidRequest

QUICK = Pace(cpu_seconds=2.0, wall_seconds=10.0)
"""Time in which some dozens of pages are read."""

SLOW = Pace(cpu_seconds=20.0, wall_seconds=60.0)
"""Time after which a file is given up."""

REMEMBERED_CHARS = 8 << 20
"""Texts that are kept, in characters: conversations send the same files with every turn."""

PDF_TYPE = "application/pdf"

_PROGRAM = "server.documents.pdf_reader"


class UnreadableDocument(Exception):
    """A document without a text that the model could read; `path` leads to the field."""

    def __init__(self, reason: str, *path: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path

    def refusal(self) -> InvalidRequest:
        """The error for the client."""
        param = ".".join(self.path)
        return InvalidRequest(f"'{param}' can't be read: {self.reason}", param=param)


@contextlib.contextmanager
def within(*path: str) -> Iterator[None]:
    """Let documents that can't be read in the block be told from here."""
    try:
        yield
    except UnreadableDocument as error:
        raise UnreadableDocument(error.reason, *path, *error.path) from None


class PdfTexts:
    """Reads files in confined processes, and remembers their texts. Thread-safe.

    What one owner of `Work` has sent is remembered for this owner alone.
    """

    def __init__(self) -> None:
        self.pool: Pool[bytes] = Pool(
            lambda niceness: Child(_PROGRAM, niceness=niceness), quick=QUICK, slow=SLOW
        )
        self._lock = Lock()
        self._known: OrderedDict[tuple[str, bytes], str] = OrderedDict()
        self._num_chars = 0

    def text(self, data: bytes) -> str:
        """The text of a file. Raises `UnreadableDocument`; `Crowded` if too many are slow."""
        key = (current_work().owner, hashlib.sha256(data).digest())
        known = self._recall(key)
        if known is not None:
            return known
        _count_file()
        text = self._read(data)
        self._remember(key, text)
        return text

    def close(self) -> None:
        """End the processes."""
        self.pool.close()

    def _read(self, data: bytes) -> str:
        try:
            answer = self.pool.ask(data)
        except TooSlow:
            raise UnreadableDocument(f"it takes more than {SLOW.cpu_seconds:g} s to read") from None
        except Died:
            raise UnreadableDocument("it needs too much memory to read") from None
        text = answer[1:].decode()
        if not answer.startswith(TEXT):
            raise UnreadableDocument(text)
        return text

    def _recall(self, key: tuple[str, bytes]) -> str | None:
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def _remember(self, key: tuple[str, bytes], text: str) -> None:
        with self._lock:
            self._num_chars += len(text) - len(self._known.pop(key, ""))
            self._known[key] = text
            while self._num_chars > REMEMBERED_CHARS:
                _, oldest = self._known.popitem(last=False)
                self._num_chars -= len(oldest)


pdf_texts = PdfTexts()
"""The readers of this process."""

atexit.register(pdf_texts.close)


def _count_file() -> None:
    """Bound what one request makes others wait for."""
    work = current_work()
    work.num_files += 1
    if work.num_files > PDFS.most:
        raise UnreadableDocument(f"a request may have {PDFS.most} PDF files")


def text_of_base64(data: str, field: str) -> str:
    """The text of a PDF file in base64. Raises `UnreadableDocument` that leads to the field."""
    try:
        plain = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableDocument("it is not valid base64", field) from None
    with within(field):
        return pdf_texts.text(plain)


def text_of_url(url: str, field: str) -> str:
    """The text of a data URL: of a PDF file, or plain text. Bare base64 is a PDF file.

    Raises `UnreadableDocument` that leads to the field.
    """
    if not url.startswith("data:"):
        return text_of_base64(url, field)
    head, comma, data = url.partition(",")
    kind, *parameters = head.removeprefix("data:").split(";")
    if not comma or "base64" not in parameters:
        raise UnreadableDocument("it is no data URL with base64", field)
    if kind.strip().lower() == PDF_TYPE:
        return text_of_base64(data, field)
    if not kind.strip().lower().startswith("text/"):
        reason = f"it has the type {kind[:100]!r}; a file can be a PDF or text"
        raise UnreadableDocument(reason, field)
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:
        raise UnreadableDocument("it is not valid base64 of UTF-8 text", field) from None


def as_document(body: str, *head: str) -> str:
    """A document as the model reads it. Empty lines of the head are left out."""
    lines = "".join(f"{line}\n" for line in head if line)
    return f"<document>\n{lines}{body}\n</document>"
