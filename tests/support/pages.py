"""The code in the pages of docs/, for tests that run it as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENTED_URL = "http://127.0.0.1:8080"
"""The server's address in every example."""


def section(page: Path, title: str) -> str:
    """The text under a heading of the second level."""
    parts = re.split(r"^## (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return found[title]


def blocks(page: Path, title: str, language: str) -> list[str]:
    """The fenced code in one language under a heading."""
    fences = re.findall(r"^```(\w+)\n(.*?)^```$", section(page, title), re.MULTILINE | re.DOTALL)
    return [code for written_in, code in fences if written_in == language]


def example(page: Path, title: str, language: str, url: str) -> str:
    """The one block in that language under a heading, for the server at `url`."""
    [code] = blocks(page, title, language)
    assert DOCUMENTED_URL in code, code
    return code.replace(DOCUMENTED_URL, url)
