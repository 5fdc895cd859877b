"""Small PDF files, written by hand."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence


def pdf(*pages: str, extra: bytes = b"") -> bytes:
    """A PDF file with one line of text on each page. `extra` is part of the trailer."""
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
    ]
    for number, text in enumerate(pages):
        font = "/Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources << {font} >> "
            f"/Contents {4 + 2 * number} 0 R >>".encode()
        )
        drawn = f"BT /F1 12 Tf 50 700 Td ({text}) Tj ET" if text else ""
        objects.append(stream(drawn.encode()))
    return assembled(objects, extra)


def stream(content: bytes) -> bytes:
    """A compressed stream object."""
    packed = zlib.compress(content)
    head = b"<< /Length %d /Filter /FlateDecode >>" % len(packed)
    return head + b"\nstream\n" + packed + b"\nendstream"


def assembled(objects: Sequence[bytes], extra: bytes = b"") -> bytes:
    """A file of these objects, the first of which is its catalog."""
    data, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return (
        data
        + b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
        + b"trailer\n<< /Size %d /Root 1 0 R %s>>\n" % (size, extra)
        + b"startxref\n%d\n%%%%EOF\n" % len(data)
    )


def in_base64(data: bytes) -> str:
    """The file as clients send it."""
    return base64.b64encode(data).decode()
