"""A file on a server, before it is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on a server. `digest` is `sha256:HEX`, `git-sha1:HEX`, or empty if nobody tells it."""

    name: str
    url: str
    size: int | None = None
    digest: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
