"""The confined process that reads the text of PDF files: `python -m server.documents.pdf_reader`.

A question is a file. An answer begins with a byte that tells a text from the reason why there is
none.
"""

from __future__ import annotations

import io
import logging

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from confined.loop import answer_all
from server.bodies.bounds import PDF_CHARS, PDF_PAGES
from server.documents.outcome import REFUSAL, TEXT

_MEMORY_BYTES = 1 << 30
"""Maximum memory. A file of a few MB can say that its streams unpack to any size."""


class _Refused(Exception):
    """Why a file has no text."""


def answer(question: bytes) -> bytes:
    """The answer to one question."""
    try:
        return TEXT + _text(question).encode(errors="replace")
    except _Refused as refusal:
        return REFUSAL + str(refusal).encode()
    except MemoryError:
        raise
    except Exception:  # the library raises errors of all kinds over broken files
        return REFUSAL + b"it is damaged, or no PDF"


def _text(data: bytes) -> str:
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not _opens(reader):
        raise _Refused("it is encrypted")
    if len(reader.pages) > PDF_PAGES.most:
        raise _Refused(f"it has {len(reader.pages)} pages; {PDF_PAGES.most} are read at most")
    texts: list[str] = []
    size = 0
    for page in reader.pages:
        text = page.extract_text().strip()
        size += len(text)
        if size > PDF_CHARS.most:
            raise _Refused(f"its text has more than {PDF_CHARS.most} characters")
        if text:
            texts.append(text)
    if not texts:
        raise _Refused("it holds no text, and the model can't see pages that are pictures")
    return "\n\n".join(texts)


def _opens(reader: PdfReader) -> bool:
    """Whether the file opens without a password, as files do that are protected from changes."""
    try:
        return bool(reader.decrypt(""))
    except (PyPdfError, NotImplementedError):
        return False


def main() -> None:
    """Answer questions until the parent is gone."""
    logging.disable()  # the library tells of every oddity of a file
    answer_all(answer, memory_bytes=_MEMORY_BYTES)


if __name__ == "__main__":
    main()
