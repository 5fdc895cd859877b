"""The built files of the page: read once, with their compressed forms."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"
"""What `make ui` writes."""

INDEX = "index.html"
CODINGS = {"br": ".br", "gzip": ".gz"}
"""Content codings, the smallest first, and the ends of the names of files that have them."""

_HASHED = re.compile(r"-[A-Za-z0-9_-]{8}\.[a-z0-9]+$")
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page."""

    media_type: str
    bodies: Mapping[str, bytes]
    """The bytes by content coding; "" is the file as it is."""
    etag: str
    """A digest of the content, without quotes."""
    is_hashed: bool
    """Whether the name has a digest of the content, so that the file never changes."""

    def coding_for(self, accepted: str) -> str:
        """The best content coding that a header `Accept-Encoding` allows; "" is none."""
        allowed = _allowed(accepted)
        return next(
            (coding for coding in CODINGS if coding in self.bodies and coding in allowed), ""
        )


def _allowed(accepted: str) -> frozenset[str]:
    """The codings of the header, without those that it forbids by `q=0`."""
    entries = (entry.replace(" ", "").lower().partition(";q=") for entry in accepted.split(","))
    return frozenset(name for name, _, weight in entries if not weight or weight.strip("0."))


@cache
def page_files(folder: Path = STATIC) -> Mapping[str, PageFile]:
    """All files by their path in the folder; empty if the page was not built."""
    packed = tuple(CODINGS.values())
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): _read(path)
        for path in paths
        if path.suffix in _MEDIA_TYPES and not path.name.endswith(packed)
    }


def _read(path: Path) -> PageFile:
    bodies = {"": path.read_bytes()}
    for coding, end in CODINGS.items():
        packed = path.with_name(path.name + end)
        if packed.is_file():
            bodies[coding] = packed.read_bytes()
    return PageFile(
        _MEDIA_TYPES[path.suffix],
        bodies,
        hashlib.sha256(bodies[""]).hexdigest()[:20],
        _HASHED.search(path.name) is not None,
    )
